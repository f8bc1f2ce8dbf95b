"""The command that `docs/endpoints.md` has for vLLM, word for word, on a small model of DS-33B's shape."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import free_port, running
from tokenizers import Tokenizer

from lsp_server.engine.client import HttpEngine, Refused
from lsp_server.engine.protocol import ContextTooLong, Message, Sampling
from lsp_server.models import chat, export_env

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_deepseek.py")
MODEL, CONTEXT = "oci-ds-33b", 16_384
END_OF_TURN, END = 32_021, 32_014
START_SECONDS = 300

pytestmark = pytest.mark.skipif(
    not os.environ.get("OCI_TEST_VLLM"),
    reason="vLLM takes gigabytes and is not installed by these tests: `pip install vllm` into an environment of its "
    "own, and name its `vllm` with OCI_TEST_VLLM",
)


@dataclass(frozen=True)
class Served:
    """A running server, and what PyTorch replies of the same model."""

    address: str
    token: str
    folder: Path
    replies: list[dict[str, list[int]]]

    def engine(self) -> HttpEngine:
        """A client that names no model."""
        return HttpEngine(f"{self.address}/v1", self.token)

    def post(self, path: str, **body: Any) -> Any:
        """What the server answers."""
        headers = {"Authorization": f"Bearer {self.token}"}
        body["model"] = MODEL
        answer = httpx.post(self.address + path, json=body, headers=headers, timeout=300, trust_env=False)
        return answer.raise_for_status().json()


def documented() -> list[str]:
    """The `vllm serve` command of the page, in words."""
    page = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
    lines = page[page.index("vllm serve") :].partition("```")[0]
    return shlex.split(lines.replace("\\\n", " "))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("vllm") / "model"
    folder.mkdir()
    python = export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())
    made = subprocess.run(
        [str(python), str(SCRIPT), str(folder)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr[-3000:]
    port = free_port()
    program, serve, _, *options = documented()
    vllm = shutil.which(os.environ["OCI_TEST_VLLM"])
    assert (program, serve) == ("vllm", "serve")
    assert vllm, f"OCI_TEST_VLLM is {os.environ['OCI_TEST_VLLM']}, which is no program"
    options[options.index("--port") + 1] = str(port)
    options[options.index("--host") + 1] = "127.0.0.1"
    # PyTorch's replies are of float32; the rest is what the page has.
    command = [vllm, serve, str(folder), *options, "--dtype", "float32"]
    token = secrets.token_urlsafe(16)
    env = {**os.environ, "VLLM_API_KEY": token, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    env |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    server = Served(f"http://127.0.0.1:{port}", token, folder, json.loads(made.stdout.splitlines()[-1]))
    with running(command, f"{server.address}/v1", folder.parent / "log", START_SECONDS, ROOT, env):
        yield server


def test_replies_are_pytorchs_token_for_token_past_the_rotary_reach(served: Served) -> None:
    for theirs in served.replies:
        options = {"temperature": 0, "ignore_eos": True, "return_token_ids": True}
        answer = served.post("/v1/completions", prompt=theirs["prompt"], max_tokens=64, **options)
        assert answer["choices"][0]["token_ids"] == theirs["tokens"]


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "Fix é\n```python\nx = 1\n```"}],
        [
            {"role": "system", "content": "Be brief.\n"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b\n"},
            {"role": "user", "content": "Execution result: c"},
        ],
    ],
)
def test_the_template_is_the_format_that_the_model_was_evaluated_with(
    served: Served, turns: list[dict[str, str]]
) -> None:
    own = Tokenizer.from_file(str(served.folder / "tokenizer.json"))
    expected = own.encode(chat.render("ds", turns), add_special_tokens=False).ids
    assert served.post("/tokenize", messages=turns)["tokens"] == expected


@pytest.mark.parametrize("token", [END_OF_TURN, END])
def test_both_end_tokens_end_a_reply(served: Served, token: int) -> None:
    forced = {"logit_bias": {str(token): 100}, "temperature": 0, "max_tokens": 5}
    answer = served.post("/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], **forced)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 1


def test_the_client_knows_its_model_its_room_and_its_errors(served: Served) -> None:
    engine, go_on = served.engine(), threading.Event()
    question, asked = [Message("user", "hi")], [{"role": "user", "content": "hi"}]
    assert len(list(engine.stream(question, Sampling(max_tokens=20), go_on))) > 10
    assert engine.model == MODEL
    assert engine.prompt_tokens == 4096
    assert engine.count(question, go_on) == served.post("/tokenize", messages=asked)["count"]
    with pytest.raises(ContextTooLong, match=str(CONTEXT)):
        list(engine.stream([Message("user", "x = 1\n" * CONTEXT)], Sampling(), go_on))
    wrong = (("wrong", MODEL, "refuses the token"), (served.token, "no-such", f"it has {MODEL}"))
    for token, model, said in wrong:
        client = HttpEngine(f"{served.address}/v1", token, model)
        with pytest.raises(Refused, match=said):
            list(client.stream(question, Sampling(), go_on))
