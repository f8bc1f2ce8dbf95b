"""From a baseline to a task: which part of which file is to change, and which tests have to turn."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from lsp_server.refine.discover import is_test_file
from lsp_server.refine.source import Definition, Region, Source
from lsp_server.refine.task import (
    Document,
    FixRequest,
    GenerateRequest,
    Snapshot,
    Task,
    TaskError,
    Wanted,
)
from runner.report import CollectionError, Outcome, Report

FUNCTIONS_PER_TEST = 200
"""Tests that execute more functions than this still count, but only their first ones are ranked."""


@dataclass(frozen=True)
class Suspect:
    """A function that failing tests executed."""

    path: PurePosixPath
    definition: Definition
    score: float
    """Ochiai's coefficient, 0 to 1."""
    depth: int
    """Its place in the deepest traceback: the innermost workspace frame is highest; 0 if in none."""


def matching(ids: Iterable[str], test: str) -> frozenset[str]:
    """Return the ids that a node id means: itself, its parameters, or the tests of that class or file."""
    return frozenset(i for i in ids if i == test or i.startswith((test + "[", test + "::")))


def rank(snapshot: Snapshot, failing: frozenset[str], traced: Report) -> list[Suspect]:
    """Rank the workspace functions that failing tests executed, most suspicious first.

    Spectrum-based: Ochiai's coefficient (Abreu et al., 2007) over the run's passing and failing tests; ties go
    to the innermost traceback frame, then to the function with most of its lines executed.

    Args:
        snapshot: the texts that were run.
        failing: the tests to explain.
        traced: a run with `executed` lines.
    """
    by_failing: dict[tuple[PurePosixPath, str], int] = defaultdict(int)
    by_passing: dict[tuple[PurePosixPath, str], int] = defaultdict(int)
    definitions: dict[tuple[PurePosixPath, str], Definition] = {}
    executed_lines: dict[tuple[PurePosixPath, str], set[int]] = defaultdict(set)
    sources: dict[PurePosixPath, Source] = {}
    for test, result in traced.results.items():
        counts = by_failing if test in failing else by_passing if result.outcome.ok else None
        if counts is None:
            continue
        touched: set[tuple[PurePosixPath, str]] = set()
        for path, lines in result.executed.items():
            if is_test_file(path):
                continue
            if path not in sources:
                try:
                    sources[path] = Source(snapshot.document(path).text)
                except TaskError:
                    continue
            for line in sorted(lines):
                definition = sources[path].outermost_function(line)
                # The def line itself runs when the module is imported, not when the function is called.
                if definition is not None and line >= definition.body:
                    key = (path, definition.name)
                    definitions[key] = definition
                    executed_lines[key].add(line)
                    touched.add(key)
        for key in sorted(touched)[:FUNCTIONS_PER_TEST]:
            counts[key] += 1
    depths: dict[tuple[PurePosixPath, str], int] = defaultdict(int)
    for test in failing:
        failed = traced.results.get(test)
        frames = failed.failure.frames if failed and failed.failure else ()
        for depth, frame in enumerate(frames, 1):
            for (path, name), definition in definitions.items():
                if path == frame.path and definition.start <= frame.line <= definition.end:
                    depths[path, name] = max(depths[path, name], depth)
    suspects = [
        Suspect(
            path=key[0],
            definition=definitions[key],
            score=count / math.sqrt(len(failing) * (count + by_passing[key])),
            depth=depths[key],
        )
        for key, count in by_failing.items()
    ]
    return sorted(
        suspects,
        key=lambda s: (
            -s.score,
            -s.depth,
            -len(executed_lines[s.path, s.definition.name]),
            str(s.path),
            s.definition.start,
        ),
    )


def locate_fix(
    request: FixRequest, tests: tuple[str, ...], baseline: Report, traced: Report, edit_tests: bool
) -> Task:
    """Find what to change so that failing tests pass.

    Args:
        request: what is asked.
        tests: pytest arguments that were run.
        baseline: the run that says which tests fail.
        traced: the same tests with `executed` lines.
        edit_tests: whether a test may be the target when the request points at it.

    Raises:
        TaskError: nothing executed by the failing tests may be changed.
    """
    failing = matching(baseline.failed, request.test) if request.test else baseline.failed
    if not failing:
        error = _collection_error(request, baseline)
        return _locate_collection_error(request, tests, error)
    if edit_tests and request.line is not None and is_test_file(request.path):
        return _task(request, request.path, request.line, tests, Wanted(failing))
    suspects = rank(request.snapshot, failing, traced)
    if not is_test_file(request.path):
        suspects = [s for s in suspects if s.path == request.path]
        if request.line is not None:
            pointed = Source(request.snapshot.document(request.path).text).outermost_function(request.line)
            suspects = [s for s in suspects if pointed and s.definition.name == pointed.name]
    else:
        suspects = suspects or _named_in_tests(request, failing)
    if not suspects:
        where = request.path if not is_test_file(request.path) else "the workspace"
        raise TaskError(
            f"The failing tests execute no function of {where} that could be changed. "
            "Point at the function to change (select it), or fix the test itself."
        )
    best = suspects[0]
    reached = _executing(traced, failing, best.path, best.definition) | _unknown(traced, failing)
    document = request.snapshot.document(best.path)
    return Task(
        kind="fix",
        snapshot=request.snapshot,
        document=document,
        region=best.definition.region,
        tests=tests,
        wanted=Wanted(reached or failing),
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
    definition = source.find(region.name) if region.name else None
    uncollected = frozenset(
        e.path for e in baseline.collection_errors if is_test_file(e.path) and str(e.path) in tests
    )
    wanted = frozenset[str]()
    if definition is not None:
        wanted = _executing(traced, baseline.failed, request.path, definition)
        wanted |= _unknown(traced, baseline.failed) if wanted else frozenset()
        # A test that fails in another stub as well cannot pass yet: it is left out if there are others.
        others = [d for d in source.definitions if d.is_stub and d.kind == "function" and d != definition]
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
    body = range(definition.body, definition.end + 1)
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


def _named_in_tests(request: FixRequest, failing: frozenset[str]) -> list[Suspect]:
    """Fall back to the one function that the tests' text names, when no executed lines are known."""
    test_text = request.snapshot.document(request.path).text
    words = set(re.findall(r"\w+", test_text))
    stem = request.path.stem.removeprefix("test_").removesuffix("_test")
    for path in (request.path.with_name(f"{stem}.py"), PurePosixPath(f"{stem}.py")):
        if is_test_file(path):
            continue
        try:
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
        if is_test_file(frame.path) and not is_test_file(request.path):
            continue
        if is_test_file(frame.path):
            break
        return _task(request, frame.path, frame.line, tests, Wanted(files=frozenset({error.path})))
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
