"""What do prefix reuse and n-gram speculation each give on repair conversations?

Two-round repairs of QuixBugs files on one loaded model, every variant in turn on each task, so that a busy machine slows
all of them alike. Printed are medians, and the ratio of each variant to the one without reuse and speculation.

    python benchmarks/session.py --data quixbugs.jsonl [--tasks 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

from engine import FAILURE, question_of

from lsp_server.engine.protocol import Message, Sampling
from lsp_server.engine.session import Session, Usage
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
    parser.add_argument("--max-tokens", type=int, default=192, help="of each reply")
    parser.add_argument("--model", default=catalog.DEFAULT)
    options = parser.parse_args()
    form = store.find(options.model)
    if form is None:
        sys.exit(f"{options.model} is not installed: run `oci-companion model pull` and `model export`")
    tokenizer = ChatTokenizer(form.path, store.entry(options.model).family)
    sessions = {
        name: Session(form.path, tokenizer, 4096, reuse=reuse, drafts=drafts)
        for name, (reuse, drafts) in VARIANTS.items()
    }
    taken: dict[str, list[tuple[float, Usage, Usage]]] = {name: [] for name in VARIANTS}
    for line in options.data.read_text().splitlines()[: options.tasks]:
        for name, session in sessions.items():
            taken[name].append(_repair(session, question_of(json.loads(line)), options.max_tokens))
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
    return 0


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
