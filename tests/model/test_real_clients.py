"""Programs that are not ours on our server: the openai SDK, the `llm` command and aider, with the default model."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from lsp_server.models import catalog, store
from tests.model.environments import AIDER, INSTALL, python_of

MODEL = catalog.DEFAULT
COUNT: Any = [{"role": "user", "content": "Count from one to forty in words, separated by commas."}]


@dataclass(frozen=True)
class Engine:
    """Our server, as other programs are told of it."""

    exports: dict[str, str]

    @property
    def url(self) -> str:
        """Base address."""
        return self.exports["OPENAI_BASE_URL"]

    @property
    def token(self) -> str:
        """Bearer token."""
        return self.exports["OPENAI_API_KEY"]

    def state(self) -> str:
        """What its health says."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.url.removesuffix('/v1')}/health"
        return str(httpx.get(url, headers=headers, trust_env=False).json()["state"])


@pytest.fixture(scope="module")
def engine(default_model: store.Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine of a home of its own, started by the command that prints its address."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(default_model.path.parent.parent)
    serve = [sys.executable, "-m", "lsp_server.cli", "serve"]
    environment = {**os.environ, store.HOME_VARIABLE: str(home)}
    try:
        done = subprocess.run(
            [*serve, "--print-endpoint"], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        words = (line.removeprefix("export ").partition("=") for line in done.stdout.splitlines())
        yield Engine({name: shlex.split(value)[0] for name, _, value in words})
    finally:
        subprocess.run([*serve, "--stop"], env=environment, check=True)


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    """The openai SDK, configured as its documentation has it."""
    return openai.OpenAI(base_url=engine.url, api_key=engine.token, max_retries=0)


def test_openai_whole(client: openai.OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Answer in one word."},
            {"role": "user", "content": parts},
        ],
        max_completion_tokens=10,
        temperature=0,
        response_format={"type": "text"},
        store=False,
        user="someone",
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_openai_streamed(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=COUNT,
            temperature=0,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "three, four" in "".join(choice.delta.content or "" for choice in choices).lower()
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_openai_several_replies(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=COUNT, n=2, max_tokens=8, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content == answer.choices[1].message.content
    said = {0: "", 1: ""}
    for chunk in client.chat.completions.create(
        model=MODEL, messages=COUNT, n=2, max_tokens=8, temperature=0, stream=True
    ):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said[0] == said[1] == answer.choices[0].message.content


def test_openai_stop(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=COUNT, temperature=0, max_tokens=40, stop=["four", "zebra"]
    )
    assert (answer.choices[0].message.content or "").lower().rstrip().endswith("three,")
    assert answer.choices[0].finish_reason == "stop"


def test_openai_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_openai_sees_its_own_errors(engine: Engine, client: openai.OpenAI) -> None:
    stranger = openai.OpenAI(base_url=engine.url, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="token"):
        stranger.chat.completions.create(model=MODEL, messages=COUNT)
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.chat.completions.create(model="gpt-9", messages=COUNT)
    with pytest.raises(openai.NotFoundError, match="/v1/chat/completions"):
        client.embeddings.create(model=MODEL, input="x")
    long: Any = [{"role": "user", "content": "x = 1\n" * 9000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=long)
    assert caught.value.code == "context_length_exceeded"
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model=MODEL, messages=COUNT, tools=[tool])


def test_openai_leaves_in_the_middle(engine: Engine, client: openai.OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=4000, stream=True) as stream:
        for _, _ in zip(range(4), stream, strict=False):
            pass
    # It answers one request at a time: 4000 tokens would keep this one waiting for minutes.
    client.chat.completions.create(model=MODEL, messages=COUNT, max_tokens=2)
    assert engine.state() == "ready"


@pytest.fixture
def llm(engine: Engine, tmp_path: Path) -> Any:
    """Run `llm` with a folder of its own."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: oci\n  model_name: {MODEL}\n  api_base: {engine.url}\n  api_key_name: oci\n"
    )

    def run(*arguments: str, key: str = engine.token) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llm", *arguments, "-m", "oci"],
            env={**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": key},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("how", [[], ["--no-stream"]])
def test_llm_answers(llm: Any, how: list[str]) -> None:
    done = llm("What is the capital of France?", "-s", "Answer in one word.", "-o", "temperature", "0", *how)
    assert "Paris" in done.stdout, done.stderr


def test_llm_goes_on_with_a_conversation(llm: Any) -> None:
    assert llm("My name is Quentin. Say OK.", "-o", "max_tokens", "10").returncode == 0
    done = llm("What is my name?", "--continue", "-o", "temperature", "0", "-o", "max_tokens", "20")
    assert "Quentin" in done.stdout, done.stderr


def test_llm_tells_of_a_wrong_key(llm: Any) -> None:
    done = llm("hello", key="wrong")
    assert done.returncode != 0
    assert "wrong or missing bearer token" in done.stderr


GREETING = 'def greet(name):\n    return "Hello, " + name\n'


def test_aider_edits_a_file(engine: Engine, tmp_path: Path) -> None:
    try:
        python = python_of(AIDER)
    except store.ModelError as error:
        pytest.fail(f"{AIDER.name} cannot be had: {error}\nTo install it: {INSTALL}")
    project = tmp_path / "project"
    project.mkdir()
    (project / "greeting.py").write_text(GREETING)
    # Nothing outside this machine is asked, whatever the program would like to know.
    closed = {"HTTPS_PROXY": "http://127.0.0.1:9", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment = {**os.environ, **engine.exports, **closed, "HOME": str(tmp_path)}
    who = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *command], cwd=project, env=environment, check=True)
    options = (
        "--no-check-update --analytics-disable --no-show-model-warnings --no-show-release-notes --no-pretty "
        "--yes-always --no-auto-commits --no-gitignore --no-suggest-shell-commands --map-tokens 0 --edit-format whole"
    )
    message = 'In greet, replace the word "Hello" by "Goodbye". Change nothing else.'
    command = [str(python), "-m", "aider", *options.split(), "--model", f"openai/{MODEL}", "greeting.py"]
    done = subprocess.run(
        [*command, "--message", message],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    print(said)
    assert done.returncode == 0, said
    assert "Applied edit to greeting.py" in done.stdout, said
    assert 'return "Goodbye, " + name' in (project / "greeting.py").read_text()
