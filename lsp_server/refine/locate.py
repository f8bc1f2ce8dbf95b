"""From a baseline to a task: which part of which file is to change, and which tests have to turn."""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lsp_server.refine.discover import is_test_code, left_alone
from lsp_server.refine.source import Definition, Region, Source
from lsp_server.refine.task import (
    ComplaintRequest,
    Document,
    FixRequest,
    GenerateRequest,
    Snapshot,
    Task,
    TaskError,
    Wanted,
)
from runner.index import is_test_file
from runner.report import CollectionError, Frame, Outcome, Report

_Place = tuple[PurePosixPath, Definition]

NAMED = 1.25
"""Factor on the suspicion of a function that a failing test is named after. Without it a constructor that every
failing test calls goes before the tested function, if only a test that passes calls just that."""


@dataclass(frozen=True)
class Suspect:
    """A function that failing tests executed."""

    path: PurePosixPath
    definition: Definition
    score: float
    """Ochiai's coefficient, 0 to 1; times `NAMED` for the function that a test is named after."""
    depth: int
    """Its place in the deepest traceback: the innermost workspace frame is highest; 0 if in none."""


def matching(ids: Iterable[str], test: str) -> frozenset[str]:
    """Return the ids that a node id means: itself, its parameters, or the tests of that class or file."""
    return frozenset(i for i in ids if i == test or i.startswith((test + "[", test + "::")))


def rank(
    snapshot: Snapshot,
    failing: frozenset[str],
    traced: Report,
    never: Callable[[PurePosixPath], bool] = is_test_code,
) -> list[Suspect]:
    """Rank the workspace functions that failing tests executed, most suspicious first.

    Where an exception came through functions of the workspace, those come first: a constructor that only the
    failing test calls is less suspect than the function that raised. Among them, and elsewhere, Ochiai's
    coefficient decides (Abreu et al., 2007) over the run's passing and failing tests; ties go to the innermost
    traceback frame, then to the function with most of its lines executed.

    Args:
        snapshot: the texts that were run.
        failing: the tests to explain.
        traced: a run with `executed` lines.
        never: says of a file that nothing in it may be changed.
    """
    sources: dict[PurePosixPath, Source] = {}
    by_failing: dict[_Place, int] = defaultdict(int)
    by_passing: dict[_Place, int] = defaultdict(int)
    executed_lines: dict[_Place, set[int]] = defaultdict(set)
    for test, result in traced.results.items():
        counts = by_failing if test in failing else by_passing if result.outcome.ok else None
        if counts is None:
            continue
        touched: set[_Place] = set()
        for path, lines in result.executed.items():
            if never(path):
                continue
            if path not in sources:
                try:
                    text = "" if left_alone(snapshot, path) else snapshot.document(path).text
                except TaskError:
                    text = ""
                sources[path] = Source(text)
            for line in sorted(lines):
                definition = sources[path].outermost_function(line)
                # The def line itself runs when the module is imported, not when the function is called.
                if definition is not None and line >= definition.body:
                    executed_lines[path, definition].add(line)
                    touched.add((path, definition))
        for place in touched:
            counts[place] += 1
    frames = [f.failure.frames for i in failing if (f := traced.results.get(i)) and f.failure]
    suspects = [
        Suspect(
            path=path,
            definition=definition,
            score=count
            / math.sqrt(len(failing) * (count + by_passing[path, definition]))
            * (NAMED if _is_named(definition, failing) else 1.0),
            depth=max((_depth(each, path, definition) for each in frames), default=0),
        )
        for (path, definition), count in by_failing.items()
    ]
    return sorted(
        suspects,
        key=lambda s: (
            s.depth == 0,
            -s.score,
            -s.depth,
            -len(executed_lines[s.path, s.definition]),
            str(s.path),
            s.definition.start,
        ),
    )


def _is_named(definition: Definition, tests: Iterable[str]) -> bool:
    """Whether a test's file or function is named after a function, as in `test_split.py` or `test_split_empty`."""
    name = re.escape(definition.name.rpartition(".")[2])
    return any(re.search(rf"test_{name}(?![a-zA-Z0-9])", test) for test in tests)


def _depth(frames: Sequence[Frame], path: PurePosixPath, definition: Definition) -> int:
    """Return how deep in a traceback a function stands, counted from 1; 0 if it does not."""
    inside = [
        n for n, f in enumerate(frames, 1) if f.path == path and definition.start <= f.line <= definition.end
    ]
    return max(inside, default=0)


def locate_fix(request: FixRequest, tests: tuple[str, ...], baseline: Report, traced: Report) -> Task:
    """Find what to change so that failing tests pass; tests and what lies beside them are never changed.

    Args:
        request: what is asked.
        tests: pytest arguments that were run; empty if only doctests were.
        baseline: the run that says which tests fail.
        traced: the same tests with `executed` lines.

    Raises:
        TaskError: nothing executed by the failing tests may be changed, or they pass now and then.
    """
    asked = matching(baseline.failed, request.test) if request.test else baseline.failed
    if not asked:
        return _locate_collection_error(request, tests, _collection_error(request, baseline))
    failing = asked - traced.passed
    if not failing:
        raise TaskError(f"{min(asked)} failed, then passed: it is flaky, so no repair of it could be proven.")

    def never(path: PurePosixPath) -> bool:
        named = path == request.path and not request.test  # the user may well mean a helper beside the tests
        return is_test_file(path) or (is_test_code(path, tests) and not named)

    suspects = rank(request.snapshot, failing, traced, never)
    if is_test_file(request.path):
        suspects = suspects or _named_in_tests(request)
    else:
        suspects = [s for s in suspects if s.path == request.path]
        if request.line is not None:
            pointed = Source(request.snapshot.document(request.path).text).outermost_function(request.line)
            suspects = [s for s in suspects if s.definition == pointed]
    if not suspects:
        where = request.path if not is_test_file(request.path) else "the workspace"
        raise TaskError(
            f"The failing tests execute no function of {where} that could be changed. "
            "Point at the function to change (select it), or fix the test itself."
        )
    best = suspects[0]
    reached = _executing(traced, failing, best.path, best.definition) | _unknown(traced, failing)
    return Task(
        kind="fix",
        snapshot=request.snapshot,
        document=request.snapshot.document(best.path),
        region=best.definition.region,
        tests=tests,
        wanted=Wanted(reached or failing) if tests else Wanted(),
        instruction=request.instruction,
    )


def locate_generate(
    request: GenerateRequest, tests: tuple[str, ...], baseline: Report, traced: Report
) -> Task:
    """Find the region to write, and the tests that reach it.

    Args:
        request: what is asked.
        tests: pytest arguments that were run; empty if there are none.
        baseline: the run that says which tests fail.
        traced: the same tests with `executed` lines.

    Raises:
        TaskError: there is nothing to write at that line.
    """
    document = request.snapshot.document(request.path)
    source = Source(document.text)
    region = region_to_generate(source, request)
    target = source.at(region) if region.name else None
    targets = [target] if target is not None else _within(source, region)
    uncollected = frozenset(
        e.path for e in baseline.collection_errors if is_test_file(e.path) and str(e.path) in tests
    )
    wanted = frozenset[str]()
    if tests:
        failing = baseline.failed - traced.passed
        for each in targets:
            wanted |= _executing(traced, failing, request.path, each)
        wanted |= _unknown(traced, failing) if wanted else frozenset()
        # A test that fails in another stub as well cannot pass yet: it is left out if there are others.
        others = [d for d in source.definitions if d.is_stub and d.kind == "function" and d not in targets]
        alone = wanted - frozenset().union(
            *(_executing(traced, wanted, request.path, other) for other in others)
        )
        wanted = alone or wanted
    return Task(
        kind="generate",
        snapshot=request.snapshot,
        document=document,
        region=region,
        tests=tests,
        wanted=Wanted(wanted, uncollected),
        instruction=request.instruction,
    )


def _within(source: Source, region: Region) -> list[Definition]:
    """Return the functions that a region of plain lines holds whole."""
    return [
        d
        for d in source.definitions
        if d.kind == "function" and region.start <= d.start and d.end <= region.end
    ]


def locate_complaint(request: ComplaintRequest, tests: tuple[str, ...]) -> Task:
    """Return the function around the line that a tool complains of, else the statement.

    Args:
        request: what is asked.
        tests: pytest arguments of the tests that go with the file.

    Raises:
        TaskError: the file cannot be read.
    """
    document = request.snapshot.document(request.path)
    source = Source(document.text)
    line = request.complaint.line
    around = source.outermost_function(line)
    return Task(
        kind="fix",
        snapshot=request.snapshot,
        document=document,
        region=around.region if around is not None else _statement(source, line),
        tests=tests,
        wanted=Wanted(),
        instruction=request.instruction,
        complaint=request.complaint,
    )


def _statement(source: Source, line: int) -> Region:
    """Return the lines of the innermost statement around a line, by indentation where the text does not parse."""
    try:
        nodes = [each for each in ast.walk(ast.parse(source.text)) if isinstance(each, ast.stmt)]
    except (SyntaxError, ValueError):
        return source.indentation_block(line)
    around = [each for each in nodes if each.lineno <= line <= (each.end_lineno or each.lineno)]
    if not around:
        return source.indentation_block(line)
    inner = max(around, key=lambda each: each.lineno)
    if isinstance(getattr(inner, "body", None), list):  # the head of a class or a block
        return Region(line, line)
    return Region(inner.lineno, inner.end_lineno or inner.lineno)


def region_to_generate(source: Source, request: GenerateRequest) -> Region:
    """Return the lines that a request to generate may write.

    A selection is taken as it is, widened to the function around it; else the stub or docstring-only function at
    the cursor; else, with an instruction, the function at the cursor; else the place below a comment.

    Raises:
        TaskError: none of these is at that line.
    """
    last = len(source.lines) + 1
    line = min(max(request.line, 1), last)
    if request.end_line is not None:
        end = min(max(request.end_line, line), last)
        around = source.outermost_function(line)
        if around is not None and around.start <= line and end <= around.end:
            return around.region
        inside = [d for d in source.definitions if not d.nested and line <= d.start and d.end <= end]
        text = source.segment(line, end).strip()
        if len(inside) == 1 and source.segment(inside[0].start, inside[0].end).strip() == text:
            return inside[0].region
        return Region(line, min(end, len(source.lines)))
    around = source.outermost_function(line)
    if around is None and line < last and source.lines[line - 1].lstrip().startswith("@"):
        around = next((d for d in source.definitions if d.start <= line <= d.header), None)
    if around is not None and (around.is_stub or request.instruction):
        return around.region
    text = source.lines[line - 1].strip() if line < last else ""
    if text.startswith("#"):
        if around is not None:
            return around.region
        while line < len(source.lines) and source.lines[line].strip().startswith("#"):
            line += 1
        return Region(line + 1, line)
    enclosing = source.enclosing(line)
    if enclosing is not None and enclosing.is_stub:
        return enclosing.region
    if request.instruction and around is None:
        return Region(line, line - 1) if text else Region(line, min(line, len(source.lines)))
    raise TaskError(
        f"There is nothing to write at {request.path}:{request.line}. Put the cursor on a stub (`...`, `pass`, "
        "`raise NotImplementedError`), on a function with only a docstring, or on a comment; or select code; "
        "or give an instruction."
    )


def _executing(
    traced: Report, tests: Iterable[str], path: PurePosixPath, definition: Definition
) -> frozenset[str]:
    # A body that is only a docstring has no line of its own to execute: the header's counts there.
    body = range(definition.header if definition.is_stub else definition.body, definition.end + 1)
    return frozenset(
        test
        for test in tests
        if (result := traced.results.get(test)) and any(n in body for n in result.executed.get(path, ()))
    )


def _unknown(traced: Report, failing: frozenset[str]) -> frozenset[str]:
    """Return the failing tests that a run ended before it came to them: whether they reach the target is not known."""
    return frozenset(
        i for i in failing if i in traced.results and traced.results[i].outcome is Outcome.NOT_RUN
    )


def _named_in_tests(request: FixRequest) -> list[Suspect]:
    """Fall back to the one function that the tests' text names, when no executed lines are known."""
    test_text = request.snapshot.document(request.path).text
    words = set(re.findall(r"\w+", test_text))
    stem = request.path.stem.removeprefix("test_").removesuffix("_test")
    for path in (request.path.with_name(f"{stem}.py"), PurePosixPath(f"{stem}.py")):
        try:
            if is_test_file(path) or left_alone(request.snapshot, path):
                continue
            source = Source(request.snapshot.document(path).text)
        except TaskError:
            continue
        return [
            Suspect(path, d, 0.0, 0)
            for d in source.definitions
            if d.kind == "function" and not d.nested and d.name.split(".")[-1] in words
        ]
    return []


def _collection_error(request: FixRequest, baseline: Report) -> CollectionError:
    for error in baseline.collection_errors:
        return error
    raise TaskError(f"No test that fails was found for {request.test or request.path}.")


def _locate_collection_error(request: FixRequest, tests: tuple[str, ...], error: CollectionError) -> Task:
    """Point at the line that keeps a test file from being collected."""
    for frame in reversed(error.failure.frames):
        if frame.path == request.path or not is_test_code(frame.path, tests):
            if is_test_file(frame.path) or left_alone(request.snapshot, frame.path):
                break
            wanted = Wanted(files=frozenset({error.path})) if tests else Wanted()
            return _task(request, frame.path, frame.line, tests, wanted)
    raise TaskError(
        f"{error.path} cannot be collected: {error.failure.message} "
        "The cause is in the test file itself, or in a name that it imports and no file defines yet."
    )


def _task(
    request: FixRequest, path: PurePosixPath, line: int, tests: tuple[str, ...], wanted: Wanted
) -> Task:
    document: Document = request.snapshot.document(path)
    source = Source(document.text)
    around = source.outermost_function(line)
    try:
        compile(document.text, str(path), "exec", dont_inherit=True)
        region = around.region if around else source.indentation_block(line)
    except (SyntaxError, ValueError):
        # parso's guess at where a broken function ends is not to be trusted: indentation is.
        region = source.indentation_block(line)
    return Task("fix", request.snapshot, document, region, tests, wanted, request.instruction)
