"""The verdict on a candidate: what its tests have proven, and whether it reached for the test harness."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from lsp_server.refine.proposal import Verdict, VerdictKind
from lsp_server.refine.task import Wanted
from runner.report import Outcome, Report, Stop

HARNESS_MODULES = frozenset(
    {
        "pytest",
        "_pytest",
        "unittest",
        "gc",
        "inspect",
        "ctypes",
        "atexit",
        "faulthandler",
        "importlib",
        "builtins",
        "runner",
    }
)
"""Modules that a repair has no business with unless the file used them before."""
HARMLESS_SYS = frozenset(
    {
        "argv", "byteorder", "float_info", "getrecursionlimit", "getsizeof", "hash_info", "int_info", "intern",
        "maxsize", "maxunicode", "platform", "setrecursionlimit", "stderr", "stdin", "stdout", "version",
        "version_info",
    }
)  # fmt: skip
FORBIDDEN_OS = frozenset({"_exit", "abort", "kill", "killpg", "fork", "execv", "execve", "dup2", "write"})
FORBIDDEN_NAMES = frozenset(
    {"__import__", "exec", "eval", "compile", "globals", "breakpoint", "SystemExit", "KeyboardInterrupt"}
)
FORBIDDEN_ATTRIBUTES = frozenset(
    {
        "__subclasses__", "__globals__", "__builtins__", "__code__", "__dict__", "f_back", "f_globals", "f_locals",
        "modules", "sys", "tb_frame",
    }
)  # fmt: skip
COMPARISONS = frozenset(
    {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__instancecheck__", "__subclasscheck__"}
)
"""An object that answers these as it likes passes any assertion."""
SUSPICIOUS_WORDS = (
    HARNESS_MODULES | FORBIDDEN_NAMES | FORBIDDEN_ATTRIBUTES | COMPARISONS | {"_exit", "_getframe"}
)
BOM = "\ufeff"


def judge(baseline: Report, report: Report, wanted: Wanted, checks: frozenset[str] = frozenset()) -> Verdict:
    """Judge a candidate's run against the baseline.

    Verified means: each wanted test passes, each test that passed before still does, every expected id reported,
    at least one test ran, and the run ended by itself.

    Args:
        baseline: the run before any change.
        report: the run on the candidate.
        wanted: what has to turn; empty if no test reaches the target.
        checks: the target's own doctests, which must pass but prove nothing.
    """
    fixed = frozenset(wanted.ids & report.passed)
    missing = wanted.ids - fixed
    broken = baseline.passed - report.passed
    uncollected = frozenset(e.path for e in report.collection_errors)
    in_files = {f: [i for i in report.results if _file(i) == f] for f in wanted.files}
    for ids in in_files.values():
        fixed |= frozenset(ids) & report.passed
        missing |= frozenset(ids) & report.failed
    verdict = _stopped(report) or _violated(report)
    if verdict:
        return Verdict(VerdictKind.REJECTED, verdict, fixed, missing, broken)
    if broken:
        reason = f"It breaks {_count(len(broken), 'test')} that passed before: {_some(broken)}."
        return Verdict(VerdictKind.REJECTED, reason, fixed, missing, broken)
    empty = [f for f, ids in in_files.items() if not ids or f in uncollected]
    if empty:
        reason = f"{empty[0]} still cannot be collected."
        return Verdict(VerdictKind.REJECTED, reason, fixed, missing, broken)
    if uncollected - frozenset(e.path for e in baseline.collection_errors):
        reason = f"{min(uncollected)} cannot be collected any more."
        return Verdict(VerdictKind.REJECTED, reason, fixed, missing, broken)
    if not wanted:
        return _untested(baseline, report, checks)
    if missing:
        total = len(missing) + len(fixed)
        kind = VerdictKind.PARTIAL if fixed else VerdictKind.REJECTED
        fail = "fails" if len(missing) == 1 else "fail"
        reason = f"{len(missing)} of {_count(total, 'test')} still {fail}: {_some(missing)}."
        return Verdict(kind, reason, fixed, missing, broken)
    if not fixed:
        return Verdict(VerdictKind.REJECTED, "No test ran.", fixed, missing, broken)
    kept = len(baseline.passed)
    reason = f"{_count(len(fixed), 'failing test')} now pass{'es' if len(fixed) == 1 else ''}"
    reason += f", and the {kept} that passed still do." if kept else "."
    return Verdict(VerdictKind.VERIFIED, reason, fixed)


def confirm(verdict: Verdict, first: Report, second: Report) -> Verdict:
    """Take back the verdict of a proof whose tests do not repeat their outcome.

    Args:
        verdict: on the first run.
        first: the run that was judged.
        second: the same tests on the same candidate once more.
    """
    flaky = first.passed ^ second.passed
    if not flaky:
        return verdict
    reason = (
        f"Run twice, {_count(len(flaky), 'test')} changed the outcome ({_some(flaky)}): flaky, so no proof."
    )
    return Verdict(
        VerdictKind.PARTIAL, reason, verdict.fixed - flaky, verdict.missing | flaky, verdict.broken
    )


def harness_reach(before: str, after: str) -> str:
    """Return what in a candidate reaches for the test harness and was not in the file before; empty if nothing.

    A pass can be forged from inside the process (an object equal to everything, a patched reporter), and that can
    only be seen by reading. Where one of the texts does not parse here (a newer Python's syntax, or an error that
    the candidate mends), words are compared instead of syntax, which accuses sooner.

    Args:
        before: the file as it was.
        after: the candidate.
    """
    try:
        known, found = (list(_reaches(ast.parse(text.removeprefix(BOM)))) for text in (before, after))
    except (SyntaxError, ValueError):
        known, found = (list(_suspicious_words(text)) for text in (before, after))
    return next((each for each in found if each not in known), "")


def _suspicious_words(text: str) -> Iterator[str]:
    for word in re.findall(r"\w+", text):
        if word in SUSPICIOUS_WORDS:
            yield f"it names {word}"


def _reaches(tree: ast.Module) -> Iterator[str]:
    bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in HARNESS_MODULES:
                        yield f"it imports {alias.name}"
                    if alias.name in ("sys", "os") and alias.asname:
                        yield f"it imports {alias.name} under another name"
            case ast.ImportFrom(module=module, names=names):
                top = (module or "").split(".")[0]
                if top in HARNESS_MODULES:
                    yield f"it imports {module}"
                for alias in names:
                    if alias.name in ("sys", "os") or alias.name in HARNESS_MODULES:
                        yield f"it imports {alias.name} from {module}"
                    if top == "sys" and alias.name not in HARMLESS_SYS:
                        yield f"it imports sys.{alias.name}"
                    if top == "os" and alias.name in FORBIDDEN_OS:
                        yield f"it imports os.{alias.name}"
            case ast.Attribute(value=ast.Name(id="sys"), attr=attribute) if attribute not in HARMLESS_SYS:
                yield f"it uses sys.{attribute}"
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in FORBIDDEN_OS:
                yield f"it uses os.{attribute}"
            case ast.Attribute(attr=attribute) if attribute in FORBIDDEN_ATTRIBUTES:
                yield f"it uses {attribute}"
            case ast.Attribute(attr=attribute, ctx=ast.Store()) if attribute in COMPARISONS:
                yield f"it sets {attribute}"
            case ast.Name(id=("sys" | "os") as name) if id(node) not in bases:
                yield f"it hands {name} around"
            case ast.Name(id=name) if name in FORBIDDEN_NAMES:
                yield f"it uses {name}"
            case ast.Constant(value=str(text)) if text in COMPARISONS | FORBIDDEN_ATTRIBUTES | {"_exit"}:
                yield f"it names {text}"
            case ast.ClassDef(name=name):
                for defined in ast.walk(node):
                    for method in sorted(COMPARISONS & _bound(defined)):
                        yield f"it defines {name}.{method}"


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {t.id for t in node.targets if isinstance(t, ast.Name)}
    return set()


def _stopped(report: Report) -> str:
    if report.stop is Stop.FINISHED:
        return ""
    hanging = [i for i, r in report.results.items() if r.outcome is Outcome.TIMEOUT]
    if hanging:
        return f"It hangs: {hanging[0]} was still running at its time limit."
    return f"The run did not end by itself: {report.stop_detail or report.stop.value}."


def _violated(report: Report) -> str:
    return f"The run tampered with its own report: {report.violations[0]}." if report.violations else ""


def _untested(baseline: Report, report: Report, checks: frozenset[str]) -> Verdict:
    if report.collection_errors:
        return Verdict(VerdictKind.REJECTED, "It does not import.")
    if checks & report.failed:
        return Verdict(
            VerdictKind.REJECTED, "The doctest in its docstring fails.", missing=checks & report.failed
        )
    passing = len(checks & report.passed)
    doctest = " and its doctest passes" if passing else ""
    return Verdict(VerdictKind.UNTESTED, f"Not tested: no test reaches it. It imports{doctest}.")


def _file(test: str) -> PurePosixPath:
    return PurePosixPath(test.partition("::")[0])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _some(tests: frozenset[str]) -> str:
    first = sorted(tests)[:3]
    return ", ".join(first) + (", …" if len(tests) > len(first) else "")
