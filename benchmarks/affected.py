"""Of a real suite, which tests does an edit concern, and are those it breaks always among them?

One operator of one function of a library from PyPI is changed at random; the tests that the history selects for that
edit are compared with those whose outcome really changes when the whole suite is run. Printed: edits with a broken test
that was not selected (there must be none), the share of the suite that is selected, with the lines of an earlier run
known and by imports alone, and the time of the selected tests against that of the suite, both warm.

    python benchmarks/affected.py --library more_itertools-11.2.1 --module more_itertools/recipes.py
        [--tests tests] [--mutants 40] [--seed 1]

The library is its unpacked source distribution. The interpreter that runs this needs pytest.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mutants import mutations

from runner.history import History, Selection, reader
from runner.index import Index
from runner.report import Outcome, Report, Stop
from runner.request import Limits, TestRequest, Trace
from runner.run import run_tests
from runner.warm import WarmProcesses

LIMITS = Limits(wall_seconds=300, test_seconds=60, cpu_seconds=600)
HANG_SECONDS = 5.0


@dataclass
class Count:
    """What one way of selecting has come to."""

    missed: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> int:
    """Mutate, select and run, and print the shares; status 1 if a broken test was not selected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--module", type=PurePosixPath, required=True)
    parser.add_argument("--tests", action="append")
    parser.add_argument("--keyword", default="", help="pytest's -k, to leave slow tests out")
    parser.add_argument("--mutants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable))
    options = parser.parse_args()

    root, tests = options.library.resolve(), tuple(options.tests or ["tests"])
    index, warm = Index(root), WarmProcesses()
    state = index.state()

    def run(*chosen: str, trace: Trace = "no", content: bytes | None = None) -> tuple[Report, float]:
        request = TestRequest(
            root,
            chosen,
            options.interpreter,
            files={options.module: content} if content is not None else {},
            trace=trace,
            test_args=("-k", options.keyword) if options.keyword else (),
            limits=LIMITS if content is None else Limits(300, HANG_SECONDS, cpu_seconds=600),
        )
        began = time.perf_counter()
        report = run_tests(request, threading.Event(), warm=warm, fork=trace == "no")
        seconds = time.perf_counter() - began
        warm.settle()
        return report, seconds

    run(*tests)
    before, plain = run(*tests)
    ways = {"by what ran": History(), "by imports": History()}
    ways["by imports"].note(before, tests, state, reader(root))
    with_lines, traced = run(*tests, trace="functions")
    ways["by what ran"].note(with_lines, tests, state, reader(root))
    print(
        f"{len(before.results)} tests in {plain:.2f} s, warm; with what each executes recorded {traced:.2f} s, cold"
    )

    mutants = list(mutations((root / options.module).read_text(encoding="utf-8")))
    random.Random(options.seed).shuffle(mutants)
    counts = {way: Count() for way in ways}
    full: list[float] = []
    for line, mutated in mutants:
        if len(full) == options.mutants:
            break
        content = mutated.encode()
        after, seconds = run(*tests, content=content)
        broken = {i for i, r in after.results.items() if r.outcome is not before.results[i].outcome}
        if not broken or after.stop is not Stop.FINISHED or Outcome.TIMEOUT in _outcomes(after):
            continue
        full.append(seconds)
        edited = {options.module: content}
        for way, history in ways.items():
            selection = history.select([options.module], index.state(edited), reader(root, edited))
            ids = _ids(selection, before)
            counts[way].missed += sorted(broken - ids)
            counts[way].shares.append(len(ids) / len(before.results))
            counts[way].seconds.append(run(*selection.tests, content=content)[1])
        print(f"line {line}: {len(broken)} broken", flush=True)
    warm.close()

    print(f"{len(full)} edits of {options.module}; the whole suite, warm: {statistics.median(full):.2f} s")
    for way, count in counts.items():
        seconds = statistics.median(count.seconds)
        print(
            f"  {way:12} selected {statistics.mean(count.shares):6.1%} of the tests (median "
            f"{statistics.median(count.shares):.1%}), {seconds:.2f} s, x {statistics.median(full) / seconds:.1f}; "
            f"broken tests not selected: {len(count.missed)} {count.missed[:5] or ''}"
        )
    return 1 if any(count.missed for count in counts.values()) else 0


def _outcomes(report: Report) -> set[Outcome]:
    return {result.outcome for result in report.results.values()}


def _ids(selection: Selection, whole: Report) -> set[str]:
    """The tests that a selection means."""
    return {test for test in whole.results if {test, test.partition("::")[0]} & set(selection.tests)}


if __name__ == "__main__":
    sys.exit(main())
