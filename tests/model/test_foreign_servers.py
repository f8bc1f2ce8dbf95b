"""Our client, and the whole product, on a server that is not ours: llama.cpp's, with the default model's GGUF file."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from servers import free_port, running

from lsp_server.engine.client import EndpointDown, HttpEngine, Refused, StreamBroken
from lsp_server.engine.protocol import ContextTooLong, EngineError, Message, Sampling
from lsp_server.models import catalog, export, store
from tests.model.environments import INSTALL, LLAMA_CPP, python_of

CONTEXT = 2048
START_SECONDS = 120
COUNT = [Message("user", "Count from one to forty in words, separated by commas.")]
EXAMPLE = Path(__file__).parents[2] / "examples" / "dates"


@dataclass(frozen=True)
class Foreign:
    """A running server."""

    endpoint: str
    token: str
    model: str

    def engine(self) -> HttpEngine:
        """A client that names no model."""
        return HttpEngine(self.endpoint, self.token)


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    """llama-cpp-python's server with the file that the default model was exported from."""
    try:
        python = python_of(LLAMA_CPP)
        weights = export.source_of(store.entry(catalog.DEFAULT))
    except store.ModelError as error:
        pytest.fail(f"{LLAMA_CPP.name} cannot be had: {error}\nTo install it: {INSTALL}")
    port = free_port()
    server = Foreign(f"http://127.0.0.1:{port}/v1", secrets.token_urlsafe(16), "team/coder")
    options = {"model": weights, "model_alias": server.model, "n_ctx": CONTEXT, "api_key": server.token}
    options |= {"host": "127.0.0.1", "port": port}
    command = [str(python), "-m", "llama_cpp.server"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    log = tmp_path_factory.mktemp("llama.cpp") / "log"
    with running(command, server.endpoint, log, START_SECONDS):
        yield server


def ask(engine: HttpEngine, messages: list[Message], **sampling: int) -> list[str]:
    """Return the pieces of a reply."""
    return list(engine.stream(messages, Sampling(**sampling), threading.Event()))


def test_a_reply_is_streamed_from_the_model_that_is_listed(llama_cpp: Foreign) -> None:
    engine = llama_cpp.engine()
    pieces = ask(engine, COUNT, max_tokens=40)
    assert len(pieces) > 10
    assert "three, four" in "".join(pieces).lower()
    assert engine.model == llama_cpp.model


def test_a_reply_that_ends_by_itself(llama_cpp: Foreign) -> None:
    question = [Message("system", "Answer in one word."), Message("user", "What is the capital of France?")]
    assert "Paris" in "".join(ask(llama_cpp.engine(), question))


def test_cancel_in_the_middle_leaves_the_server_free(llama_cpp: Foreign) -> None:
    cancel = threading.Event()
    pieces = llama_cpp.engine().stream(COUNT, Sampling(max_tokens=1500), cancel)
    first = [next(pieces) for _ in range(3)]
    cancel.set()
    assert list(pieces) == []
    assert all(first)
    # It answers one request at a time: 1500 tokens would keep this one waiting for minutes.
    assert ask(llama_cpp.engine(), COUNT, max_tokens=4)


def test_a_reply_that_the_server_drops_for_another_is_not_taken_for_whole(llama_cpp: Foreign) -> None:
    dropped = llama_cpp.engine().stream(COUNT, Sampling(max_tokens=1500), threading.Event())
    next(dropped)
    other: list[str] = []
    asking = threading.Thread(
        target=lambda: other.extend(ask(llama_cpp.engine(), COUNT, max_tokens=4)), daemon=True
    )
    asking.start()
    with pytest.raises(StreamBroken, match="try again"):
        list(dropped)
    asking.join(60)
    assert other


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_refused(llama_cpp: Foreign, token: str) -> None:
    with pytest.raises(Refused, match=r"refuses the token \(Invalid API key\): set the right one"):
        ask(HttpEngine(llama_cpp.endpoint, token), COUNT)


def test_a_wrong_model_is_refused_though_this_server_would_answer(llama_cpp: Foreign) -> None:
    body = {"model": "no-such", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    headers = {"Authorization": f"Bearer {llama_cpp.token}"}
    url = f"{llama_cpp.endpoint}/chat/completions"
    assert httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60).is_success
    with pytest.raises(Refused, match=r"no model 'no-such'; it has team/coder: correct oci\.model"):
        ask(HttpEngine(llama_cpp.endpoint, llama_cpp.token, "no-such"), COUNT)


def test_a_wrong_path_is_told_with_the_setting_to_correct(llama_cpp: Foreign) -> None:
    with pytest.raises(Refused, match=r"oci\.endpoint"):
        ask(HttpEngine(llama_cpp.endpoint + "/v2", llama_cpp.token, llama_cpp.model), COUNT)


def test_nothing_there_is_told_with_the_setting_to_correct(llama_cpp: Foreign) -> None:
    port = free_port()
    with pytest.raises(EndpointDown, match=r"oci\.endpoint"):
        ask(HttpEngine(f"http://127.0.0.1:{port}/v1", llama_cpp.token), COUNT)


def test_a_prompt_that_does_not_fit_is_recognised_and_the_server_goes_on(llama_cpp: Foreign) -> None:
    with pytest.raises(ContextTooLong, match=str(CONTEXT)) as caught:
        ask(llama_cpp.engine(), [Message("user", "x = 1\n" * CONTEXT)])
    assert isinstance(caught.value, EngineError)
    assert ask(llama_cpp.engine(), COUNT, max_tokens=4)


def test_fix_repairs_the_example_and_what_it_says_of_it_is_true(llama_cpp: Foreign, tmp_path: Path) -> None:
    project = tmp_path / "dates"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    before = (project / "dates.py").read_bytes()
    command = [sys.executable, "-m", "lsp_server.cli", "fix", "tests/test_dates.py", "--workspace", "."]
    command += ["--endpoint", llama_cpp.endpoint, "--interpreter", sys.executable]
    command += ["--time-limit", "900", "--apply", "--json"]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "OCI_ENDPOINT_TOKEN": llama_cpp.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    print(json.dumps(answer["receipt"], indent=2), answer["diff"], sep="\n")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, check=False
    )
    # What a small model writes depends on the processor's arithmetic; what is said of it must be true in any case.
    assert answer["rounds"]
    assert answer["verified"] == (done.returncode == 0) == (tests.returncode == 0)
    assert ((project / "dates.py").read_bytes() == before) == (not answer["verified"])
    if answer["verified"]:
        assert answer["receipt"]["model"] == llama_cpp.model
