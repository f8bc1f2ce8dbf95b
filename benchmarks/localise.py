"""How often is the faulty function found from the failing tests: first, or among the first three?

Two sets: every QuixBugs task laid out in one workspace, with all tests; and mutants of a library from PyPI, one operator
or constant of one function changed at random, with the library's own suite. Beside our ranking (traceback, then Ochiai's
coefficient over passing and failing tests) stand the two alone. What the tracing costs is printed as well.

    python benchmarks/localise.py --data quixbugs.jsonl
    python benchmarks/localise.py --library more_itertools-11.2.1 --module more_itertools/recipes.py
        --tests tests/test_recipes.py [--mutants 100] [--seed 1]

The library is its unpacked source distribution. The interpreter that runs this needs pytest.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mutants import mutations

from lsp_server.refine.discover import is_test_code
from lsp_server.refine.locate import Suspect, rank
from lsp_server.refine.source import Source
from lsp_server.refine.task import Document, Snapshot
from runner.report import Outcome, Report, Stop
from runner.request import Limits, TestRequest
from runner.run import run_tests
from runner.warm import WarmProcesses

LIMITS = Limits(wall_seconds=120, test_seconds=3, hangs=100, cpu_seconds=300)
Key = Callable[[Suspect], tuple[float, ...]]
WAYS: dict[str, Key | None] = {
    "ours": None,
    "Ochiai alone": lambda suspect: (-suspect.score,),
    "traceback alone": lambda suspect: (-suspect.depth,),
}


def main() -> int:
    """Rank, and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="quixbugs.jsonl")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--module", type=PurePosixPath)
    parser.add_argument("--tests", action="append", default=[])
    parser.add_argument("--keyword", default="", help="pytest's -k, to leave slow tests out")
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable))
    options = parser.parse_args()
    if options.data:
        _show("QuixBugs, all in one workspace", list(_quixbugs(options)))
    if options.library:
        _show(f"mutants of {options.module}", list(_mutants(options)))
    return 0


def _quixbugs(options: argparse.Namespace) -> Iterator[dict[str, int]]:
    """The place of each task's faulty function, by way of ranking."""
    tasks = [json.loads(line) for line in options.data.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for task in tasks:
            own_cases = f"cases_{Path(task['target']).stem}.jsonl"
            for name, text in task["files"].items():
                text = text.replace("cases.jsonl", own_cases)
                (root / name.replace("cases.jsonl", own_cases)).write_text(text)
        # The standard limit of hangs and one process would lose the tests after it: each file has a run of its own.
        results = {}
        for task in tasks:
            report = _run(
                TestRequest(root, tuple(task["tests"]), options.interpreter, trace="lines", limits=LIMITS)
            )
            results |= report.results
        everything = Report(results)
        for task in tasks:
            failing = frozenset(
                test for test in everything.failed if test.partition("::")[0] in task["tests"]
            )
            target = PurePosixPath(task["target"])
            name = _changed(task["files"][task["target"]], task["solution"][task["target"]])
            suspects = rank(Snapshot(root), failing, everything, is_test_code)
            yield _places(suspects, target, name)


def _changed(before: str, after: str) -> str:
    """The function that differs."""
    old, new = Source(before), Source(after)
    texts = {each.name: new.segment(each.start, each.end) for each in new.definitions}
    for each in old.definitions:
        if each.kind == "function" and texts.get(each.name) != old.segment(each.start, each.end):
            return each.name
    return old.definitions[0].name


def _mutants(options: argparse.Namespace) -> Iterator[dict[str, int]]:
    """The place of each mutated function; mutants that no test notices, or that hang, are left out and counted."""
    chance = random.Random(options.seed)
    root = options.library.resolve()
    text = (root / options.module).read_text(encoding="utf-8")
    mutants = list(mutations(text))
    chance.shuffle(mutants)
    warm = WarmProcesses()
    unnoticed = plain = traced = 0.0
    found = 0
    for line, mutated in mutants:
        if found == options.mutants:
            break
        request = TestRequest(
            root,
            tuple(options.tests),
            options.interpreter,
            files={options.module: mutated.encode()},
            test_args=("-k", options.keyword) if options.keyword else (),
            limits=LIMITS,
        )
        began = time.perf_counter()
        report = _run(request, warm)
        plain += time.perf_counter() - began
        warm.settle()
        hung = report.stop is not Stop.FINISHED or any(
            result.outcome is Outcome.TIMEOUT for result in report.results.values()
        )
        if not report.failed or hung:
            unnoticed += 1
            plain -= time.perf_counter() - began
            continue
        began = time.perf_counter()
        with_lines = _run(TestRequest(**{**vars(request), "trace": "lines"}), warm)
        traced += time.perf_counter() - began
        warm.settle()
        snapshot = Snapshot(root, {options.module: Document(options.module, mutated)})
        suspects = rank(snapshot, report.failed & with_lines.failed, with_lines, is_test_code)
        definition = Source(mutated).outermost_function(line)
        assert definition is not None
        found += 1
        print(".", end="", flush=True)
        yield _places(suspects, options.module, definition.name)
    warm.close()
    print(
        f"\n{unnoticed:.0f} mutants were left out: no test noticed them, or they hung. Tracing takes "
        f"x {traced / plain:.2f} of a run's time."
    )


def _places(suspects: list[Suspect], path: PurePosixPath, name: str) -> dict[str, int]:
    """The place of a function, from 1, by each way; 0: it is not among them."""
    places = {}
    for way, key in WAYS.items():
        ordered = suspects if key is None else sorted(suspects, key=key)
        at = [n for n, each in enumerate(ordered, 1) if each.path == path and each.definition.name == name]
        if key is not None and at:
            # Ties count half: no order among them is known.
            mine = ordered[at[0] - 1]
            before = sum(key(each) < key(mine) for each in ordered)
            tied = sum(key(each) == key(mine) for each in ordered)
            at = [before + (tied + 1) // 2]
        places[way] = at[0] if at else 0
    return places


def _show(title: str, places: list[dict[str, int]]) -> None:
    print(f"{title}: {len(places)}")
    for way in WAYS:
        found = [each[way] for each in places]
        first, three = (sum(0 < each <= n for each in found) for n in (1, 3))
        print(f"  {way:16} first {first / len(found):6.1%}   in the first three {three / len(found):6.1%}")


def _run(request: TestRequest, warm: WarmProcesses | None = None) -> Report:
    return run_tests(request, threading.Event(), warm=warm)


if __name__ == "__main__":
    sys.exit(main())
