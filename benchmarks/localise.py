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
import ast
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from lsp_server.refine.discover import is_test_code
from lsp_server.refine.locate import Suspect, rank
from lsp_server.refine.source import Source
from lsp_server.refine.task import Document, Snapshot
from runner.report import Outcome, Report, Stop
from runner.request import Limits, TestRequest
from runner.run import run_tests
from runner.warm import WarmProcesses

LIMITS = Limits(wall_seconds=120, test_seconds=3, hangs=100, cpu_seconds=300)
SWAPPED: dict[type[ast.AST], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and",
}  # fmt: skip
WRITTEN: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or",
}  # fmt: skip

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
                TestRequest(root, tuple(task["tests"]), options.interpreter, trace=True, limits=LIMITS)
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
    mutations = list(_mutations(text))
    chance.shuffle(mutations)
    warm = WarmProcesses()
    unnoticed = plain = traced = 0.0
    found = 0
    for line, mutated in mutations:
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
        with_lines = _run(TestRequest(**{**vars(request), "trace": True}), warm)
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


def _mutations(text: str) -> Iterator[tuple[int, str]]:
    """Every text with one operator or constant in a function changed, with its line."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for each in lines:
        starts.append(starts[-1] + len(each.encode()))
    raw = text.encode()

    def between(left: ast.expr, right: ast.expr) -> tuple[int, int]:
        assert left.end_lineno is not None and left.end_col_offset is not None
        return (
            starts[left.end_lineno - 1] + left.end_col_offset,
            starts[right.lineno - 1] + right.col_offset,
        )

    source = Source(text)
    for node in ast.walk(ast.parse(text)):
        pairs: list[tuple[ast.AST, ast.expr, ast.expr]] = []
        if isinstance(node, ast.BinOp):
            pairs = [(node.op, node.left, node.right)]
        elif isinstance(node, ast.Compare):
            pairs = list(zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False))
        elif isinstance(node, ast.BoolOp):
            pairs = [(node.op, node.values[0], node.values[1])]
        for operator, left, right in pairs:
            if type(operator) not in SWAPPED:
                continue
            begin, end = between(left, right)
            written, swapped = WRITTEN[type(operator)].encode(), SWAPPED[type(operator)].encode()
            gap = raw[begin:end]
            if gap.count(written) != 1:
                continue
            mutated = (raw[:begin] + gap.replace(written, swapped) + raw[end:]).decode()
            definition = source.outermost_function(right.lineno)
            if definition is not None and right.lineno >= definition.body and _is_python(mutated):
                yield right.lineno, mutated


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


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
