"""How fast is our engine on repair conversations, beside llama.cpp, transformers and optimum?

Each task is a two-round repair of a QuixBugs file: the question, the engine's own reply, a failing run as the second
question, and a second reply, greedy, over HTTP where the peer has a server. Every engine takes its turn on each task
before the next task begins, so that a busy machine slows all of them alike; figures are medians over the tasks and
ratios are of those. Peers without a server (transformers, optimum) run in their own interpreter on the first few
tasks, being slow.

    python benchmarks/engine.py --data quixbugs.jsonl --llama-python VENV/bin/python [--torch-python VENV/bin/python]
        [--optimum-python VENV/bin/python --optimum-folder FOLDER]

VENV has llama-cpp-python[server]; the torch one has torch, transformers, gguf and accelerate; optimum's has
optimum-onnx, and FOLDER is what `optimum-cli export onnx` made of the same model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from tokenizers import Tokenizer

from lsp_server.models import catalog, store
from lsp_server.models.export import source_of

FAILURE = (
    "Execution result: \nTraceback (most recent call last):\n  in the first test\nAssertionError: the result is not "
    "the expected one\n\nCorrect the code. Give the complete function in one ```python code block."
)


@dataclass
class Round:
    """One request, as the client sees it."""

    prompt_tokens: int
    reply_tokens: int
    first: float
    """Seconds to the first piece of text."""
    seconds: float
    """Seconds to the end."""


@dataclass
class Peer:
    """An engine and what it took."""

    name: str
    url: str
    key: str
    process: psutil.Process
    load: float
    """Seconds from the process's start to its being ready."""
    rounds: list[list[Round]] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    """Seconds to the first token of round two's prompt when nothing of it is in the cache."""
    peak: int = 0
    """Most bytes resident."""


def main() -> int:
    """Run the tasks on every engine in turn, print a table and the ratios."""
    options = _options()
    tasks = [json.loads(line) for line in options.data.read_text().splitlines()][: options.tasks]
    form = store.find(options.model)
    if form is None:
        sys.exit(f"{options.model} is not installed: run `oci-companion model pull` and `model export`")
    tokenizer = Tokenizer.from_file(str(form.path / "tokenizer.json"))
    gguf = source_of(store.entry(options.model))
    with ExitStack() as running:
        print(
            f"{platform.machine()}, {os.cpu_count()} cores; {options.model}; {len(tasks)} tasks", flush=True
        )
        peers = [running.enter_context(our_server("companion", options, []))]
        if options.llama_python:
            peers.append(running.enter_context(llama_server("llama.cpp", options, gguf, [])))
            lookup = ["--draft_model", "prompt-lookup-decoding", "--draft_model_num_pred_tokens", "4"]
            peers.append(
                running.enter_context(llama_server("llama.cpp + prompt lookup", options, gguf, lookup))
            )
        for number, task in enumerate(tasks):
            for peer in peers:
                peer.rounds.append(_repair(peer, question_of(task), options.max_tokens, tokenizer))
            # A first word of its own makes every token after it new to the cache.
            question = f"Task {number}. {question_of(task)}"
            peers[0].cold.append(_cold(peers[0], question, tokenizer))
            print(".", end="", flush=True)
        print()
    _report(peers)
    for name, python, folder in (
        ("transformers", options.torch_python, gguf),
        ("optimum", options.optimum_python, options.optimum_folder),
    ):
        if python:
            slow = _slow(
                name, python, folder, [question_of(task) for task in tasks[: options.slow_tasks]], options
            )
            _report([peers[0], slow], first=options.slow_tasks)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="quixbugs.jsonl")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--slow-tasks", type=int, default=3, help="for the peers without a server")
    parser.add_argument("--max-tokens", type=int, default=192, help="of each reply")
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False))
    parser.add_argument("--llama-python", help="an interpreter with llama-cpp-python[server]")
    parser.add_argument("--torch-python", help="an interpreter with transformers")
    parser.add_argument("--optimum-python", help="an interpreter with optimum-onnx")
    parser.add_argument("--optimum-folder", type=Path, help="the model as optimum exported it")
    return parser.parse_args()


def question_of(task: dict[str, Any]) -> str:
    """The first question of a task."""
    target, test = task["target"], task["tests"][0]
    return (
        f"A function in `{target}` has a bug, so a test fails. Find the bug and correct it.\n\n"
        f"File `{target}`:\n```python\n{task['files'][target].strip()}\n```\n\n"
        f"Test (`{test}`):\n```python\n{task['files'][test][:1500].strip()}\n```\n\n"
        "Give the complete function in one ```python code block, with the same signature and without tests."
    )


@contextmanager
def our_server(name: str, options: argparse.Namespace, more: list[str]) -> Iterator[Peer]:
    """A server of ours with a home of its own, so that a running one is left alone."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models").symlink_to(store.home() / "models")
        command = [sys.executable, "-m", "lsp_server.engine.serve", "--model", options.model]
        command += ["--threads", str(options.threads), *more]
        started = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, store.HOME_VARIABLE: folder})
        run_file = home / "run" / f"{options.model}.json"
        try:
            _await(process, run_file.is_file)
            running = json.loads(run_file.read_text())
            url = f"http://127.0.0.1:{running['port']}"
            health = {"Authorization": f"Bearer {running['token']}"}
            _await(process, lambda: httpx.get(f"{url}/health", headers=health).json()["state"] == "ready")
            load = time.perf_counter() - started
            yield Peer(name, f"{url}/v1", running["token"], psutil.Process(process.pid), load)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def llama_server(name: str, options: argparse.Namespace, gguf: Path, more: list[str]) -> Iterator[Peer]:
    """llama-cpp-python's server with its prompt cache on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [options.llama_python, "-m", "llama_cpp.server", "--model", str(gguf), "--port", str(port)]
    threads = str(options.threads)
    command += [
        "--n_ctx",
        "4096",
        "--n_threads",
        threads,
        "--n_threads_batch",
        threads,
        "--cache",
        "true",
        # Each prompt that it keeps takes twenty times the memory that it counts, and the machine has to hold two of it.
        "--cache_size",
        str(128 << 20),
        *more,
    ]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process, lambda: httpx.get(f"http://127.0.0.1:{port}/v1/models").is_success)
        load = time.perf_counter() - started
        yield Peer(name, f"http://127.0.0.1:{port}/v1", "none", psutil.Process(process.pid), load)
    finally:
        process.terminate()
        process.wait()


def _await(process: subprocess.Popen[bytes], ready: Any) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with status {process.returncode}")
        try:
            if ready():
                return
        except (httpx.HTTPError, KeyError):
            pass
        time.sleep(0.1)
    sys.exit(f"{process.args} did not come up")


def _repair(peer: Peer, question: str, max_tokens: int, tokenizer: Tokenizer) -> list[Round]:
    """Two rounds of one conversation."""
    messages = [{"role": "user", "content": question}]
    rounds = []
    for _ in range(2):
        reply, made = ask(peer, messages, max_tokens, tokenizer)
        rounds.append(made)
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": FAILURE}]
    return rounds


def _cold(peer: Peer, question: str, tokenizer: Tokenizer) -> float:
    """Seconds to the first token of a second round's prompt that is not in the cache."""
    reply = question.partition("```python\n")[2].partition("```")[0]
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"```python\n{reply}```"},
        {"role": "user", "content": FAILURE},
    ]
    return ask(peer, messages, 1, tokenizer)[1].first


def ask(
    peer: Peer, messages: list[dict[str, str]], max_tokens: int, tokenizer: Tokenizer
) -> tuple[str, Round]:
    body = {"messages": messages, "temperature": 0.0, "max_tokens": max_tokens, "stream": True}
    headers = {"Authorization": f"Bearer {peer.key}"}
    pieces, first = [], 0.0
    done = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(peer, done))
    watcher.start()
    started = time.perf_counter()
    with httpx.stream(
        "POST", f"{peer.url}/chat/completions", json=body, headers=headers, timeout=None
    ) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                if text := choice["delta"].get("content"):
                    first = first or time.perf_counter() - started
                    pieces.append(text)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    reply = "".join(pieces)
    prompt = "\n".join(message["content"] for message in messages)
    # The same tokenizer counts for all; the few tokens of the chat format are left out.
    return reply, Round(len(tokenizer.encode(prompt).ids), len(tokenizer.encode(reply).ids), first, seconds)


def _watch_memory(peer: Peer, done: threading.Event) -> None:
    while not done.wait(0.25):
        peer.peak = max(peer.peak, peer.process.memory_info().rss)


SLOW_PEER = """
import json, sys, time
started = time.perf_counter()
import psutil, torch
from transformers import AutoTokenizer
kind, where, threads, max_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
if kind == "optimum":
    import onnxruntime
    from optimum.onnxruntime import ORTModelForCausalLM
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    tokenizer = AutoTokenizer.from_pretrained(where)
    model = ORTModelForCausalLM.from_pretrained(where, session_options=options)
else:
    from transformers import AutoModelForCausalLM
    folder, name = where.rsplit("/", 1)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
print(json.dumps({"load": time.perf_counter() - started}), flush=True)

class FirstToken:
    at = 0.0
    def put(self, value):
        if value.numel() == 1 and not self.at:
            self.at = time.perf_counter()
    def end(self):
        pass

for question in json.load(sys.stdin):
    messages, rounds = [{"role": "user", "content": question["question"]}], []
    for _ in range(2):
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        ids = ids["input_ids"] if hasattr(ids, "keys") else ids
        streamer, started = FirstToken(), time.perf_counter()
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False, streamer=streamer
        )
        reply = out[0, ids.shape[1]:]
        rounds.append([ids.shape[1], len(reply), streamer.at - started, time.perf_counter() - started])
        messages += [
            {"role": "assistant", "content": tokenizer.decode(reply, skip_special_tokens=True)},
            {"role": "user", "content": question["failure"]},
        ]
    peak = psutil.Process().memory_info().rss
    print(json.dumps({"rounds": rounds, "peak": peak}), flush=True)
"""


def _slow(name: str, python: str, where: Path, questions: list[str], options: argparse.Namespace) -> Peer:
    """A peer without a server, in its own interpreter."""
    run = subprocess.run(
        [python, "-c", SLOW_PEER, name, str(where), str(options.threads), str(options.max_tokens)],
        input=json.dumps([{"question": question, "failure": FAILURE} for question in questions]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peer = Peer(name, "", "", psutil.Process(), 0.0)
    for line in run.stdout.splitlines():
        if line.startswith('{"load"'):
            peer.load = json.loads(line)["load"]
        elif line.startswith("{"):
            answer = json.loads(line)
            peer.rounds.append([Round(*each) for each in answer["rounds"]])
            peer.peak = max(peer.peak, answer["peak"])
    return peer


def _report(peers: list[Peer], first: int | None = None) -> None:
    """A line for each engine, and the ratios of the first one to the others."""
    figures = [_figures(peer.rounds[:first]) for peer in peers]
    heads = ("first token", "round two's", "prefill tok/s", "decode tok/s", "two rounds", "load", "peak GB")
    print(
        f"\n{'median of ' + str(len(peers[0].rounds[:first])) + ' tasks':28}"
        + "".join(f"{h:>15}" for h in heads)
    )
    for peer, row in zip(peers, figures, strict=True):
        cells = [
            f"{row[0]:.2f} s",
            f"{row[1]:.2f} s",
            *(f"{v:.1f}" for v in row[2:4]),
            f"{row[4]:.2f} s",
            f"{peer.load:.1f} s",
        ]
        print(f"{peer.name:28}" + "".join(f"{c:>15}" for c in [*cells, f"{peer.peak / 1e9:.2f}"]))
    for peer, row in zip(peers[1:], figures[1:], strict=True):
        ratios = [
            row[0] / figures[0][0],
            row[1] / figures[0][1],
            figures[0][2] / row[2],
            figures[0][3] / row[3],
        ]
        ratios += [row[4] / figures[0][4], peer.load / peers[0].load, peer.peak / peers[0].peak]
        name = f"{peers[0].name} ahead by"
        print(f"{name:28}" + "".join(f"{f'x {r:.2f}':>15}" for r in ratios) + f"   ({peer.name})")
    if peers[0].cold:
        share = statistics.median(
            rounds[1].first / cold for rounds, cold in zip(peers[0].rounds, peers[0].cold, strict=True)
        )
        print(
            f"{peers[0].name}: round two's first token after {share:.0%} of the time that such a prompt takes cold"
        )


def _figures(repairs: list[list[Round]]) -> tuple[float, ...]:
    """Medians: first token of each round, prefill and decode tokens/s of the first and of both, whole repair."""
    return (
        statistics.median(rounds[0].first for rounds in repairs),
        statistics.median(rounds[1].first for rounds in repairs),
        statistics.median(rounds[0].prompt_tokens / rounds[0].first for rounds in repairs),
        statistics.median(
            sum(r.reply_tokens for r in rounds) / sum(r.seconds - r.first for r in rounds)
            for rounds in repairs
        ),
        statistics.median(sum(r.seconds for r in rounds) for rounds in repairs),
    )


if __name__ == "__main__":
    sys.exit(main())
