"""What do prefix reuse and n-gram speculation each give on repair conversations, and on samples of one prompt?

Two-round repairs of QuixBugs files on one loaded model, every variant in turn on each task, so that a busy machine slows
all of them alike; then samples of each file's question, in turn too: one after the other from one cached prompt, without
and with drafts, and all at once in one batch of the runtime's, which computes the prompt for each of them. Printed are
medians, and the ratio of each variant to the first.

    python benchmarks/session.py --data quixbugs.jsonl [--tasks 5] [--samples 6]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from engine import FAILURE, question_of

from lsp_server.engine import runtime
from lsp_server.engine.protocol import Message, Sampling
from lsp_server.engine.session import Session, Usage, core_count
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import catalog, store

VARIANTS = {
    "neither": (False, 0),
    "reuse": (True, 0),
    "reuse, 2 drafts": (True, 2),
    "reuse, 4 drafts": (True, 4),
    "reuse, 7 drafts": (True, 7),
}
"""Name: whether prefixes are reused, and how many drafts a pass verifies."""


def main() -> int:
    """Run the tasks in every variant and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="quixbugs.jsonl")
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--samples", type=int, default=6, help="of one prompt")
    parser.add_argument("--max-tokens", type=int, default=192, help="of each reply")
    parser.add_argument("--model", default=catalog.DEFAULT)
    options = parser.parse_args()
    form = store.find(options.model)
    if form is None:
        sys.exit(f"{options.model} is not installed: run `oci-companion model pull` and `model export`")
    choice = runtime.choose(form)
    runtime.prepare(choice)
    form = choice.form
    print(f"{form.model_id} at {form.precision} on {choice.memory.name}")
    tokenizer = ChatTokenizer(form.path, store.entry(options.model).family)
    sessions = {
        name: Session(form.path, tokenizer, 4096, memory=choice.memory, reuse=reuse, drafts=drafts)
        for name, (reuse, drafts) in VARIANTS.items()
    }
    questions = [question_of(json.loads(line)) for line in options.data.read_text().splitlines()]
    taken: dict[str, list[tuple[float, Usage, Usage]]] = {name: [] for name in VARIANTS}
    for question in questions[: options.tasks]:
        for name, session in sessions.items():
            taken[name].append(_repair(session, question, options.max_tokens))
        print(".", end="", flush=True)
    print(f"\n{'':20}{'two rounds':>12}{'ratio':>8}{'prefill 2':>12}{'decode tok/s':>14}")
    base = statistics.median(each[0] for each in taken["neither"])
    for name, rows in taken.items():
        whole = statistics.median(each[0] for each in rows)
        second = statistics.median(each[2].prefill_seconds for each in rows)
        decode = statistics.median(
            sum(u.completion_tokens for u in each[1:]) / sum(u.decode_seconds for u in each[1:])
            for each in rows
        )
        print(f"{name:20}{whole:>10.2f} s{f'x {base / whole:.2f}':>8}{second:>10.2f} s{decode:>14.1f}")
    _samples(sessions, _batch_model(form.path), questions[: options.tasks], options)
    return 0


def _samples(
    sessions: dict[str, Session], model: Any, questions: list[str], options: argparse.Namespace
) -> None:
    """Print what so many samples of one prompt take in each way; the same seeds in all of them."""
    wanted = [
        Sampling(temperature=0.8, top_p=0.95, seed=seed, max_tokens=options.max_tokens)
        for seed in range(options.samples)
    ]
    ways = {
        "one after the other": lambda prompt: _in_turn(sessions["reuse"], prompt, wanted),
        "the same, 7 drafts": lambda prompt: _in_turn(sessions["reuse, 7 drafts"], prompt, wanted),
        "in one batch": lambda prompt: _at_once(model, prompt, wanted),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for question in questions:
        prompt = sessions["neither"].encode([Message("user", question)])
        for name, way in ways.items():
            began = time.perf_counter()
            way(prompt)
            seconds[name].append(time.perf_counter() - began)
        print(".", end="", flush=True)
    print(f"\n{f'{options.samples} samples of a prompt':24}{'seconds':>10}{'ratio':>8}")
    base = statistics.median(next(iter(seconds.values())))
    for name, found in seconds.items():
        whole = statistics.median(found)
        print(f"{name:24}{whole:>10.2f}{f'x {base / whole:.2f}':>8}")


def _in_turn(session: Session, prompt: list[int], wanted: list[Sampling]) -> None:
    for sampling in wanted:
        list(session.complete(prompt, sampling, (), threading.Event(), Usage()))


def _batch_model(folder: Path) -> Any:
    """Load the model once more, for the runtime's own decoding."""
    import onnxruntime_genai  # type: ignore[import-untyped]

    configuration = onnxruntime_genai.Config(str(folder))
    options = {"intra_op_num_threads": core_count()}
    configuration.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    return onnxruntime_genai.Model(configuration)


def _at_once(model: Any, prompt: list[int], wanted: list[Sampling]) -> None:
    """Have the runtime decode a batch until each of its replies has ended; a batch is all its own, sampling included."""
    import onnxruntime_genai

    parameters = onnxruntime_genai.GeneratorParams(model)
    first = wanted[0]
    parameters.set_search_options(
        max_length=len(prompt) + first.max_tokens,
        batch_size=len(wanted),
        do_sample=True,
        temperature=first.temperature,
        top_p=first.top_p,
        random_seed=first.seed,
    )
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.tile(np.asarray(prompt, dtype=np.int32), (len(wanted), 1)))
    while not generator.is_done():
        generator.generate_next_token()


def _repair(session: Session, question: str, max_tokens: int) -> tuple[float, Usage, Usage]:
    """Seconds of two rounds, and what each cost."""
    messages, costs = [Message("user", question)], []
    started = time.perf_counter()
    for _ in range(2):
        usage = Usage()
        prompt = session.encode(messages)
        greedy = Sampling(max_tokens=max_tokens)
        reply = "".join(session.complete(prompt, greedy, (), threading.Event(), usage))
        costs.append(usage)
        messages += [Message("assistant", reply), Message("user", FAILURE)]
    return time.perf_counter() - started, costs[0], costs[1]


if __name__ == "__main__":
    sys.exit(main())
