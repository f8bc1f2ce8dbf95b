"""A proposal as plain JSON values, for `--json` and for whoever keeps it."""

from __future__ import annotations

from typing import NotRequired  # pydantic takes no other kind before Python 3.12

from typing_extensions import TypedDict

from lsp_server.refine.proposal import Proposal, Receipt, Round, Verdict
from runner.report import Failure, Report, TestResult


class FrameRecord(TypedDict):
    """A line of a traceback."""

    path: str
    line: int
    function: str


class FailureRecord(TypedDict):
    """Why a test did not pass, with the workspace's frames of its traceback, outermost first."""

    message: str
    detail: str
    frames: list[FrameRecord]
    output: str


class TestRecord(TypedDict):
    """How one test ended."""

    outcome: str
    seconds: float
    failure: NotRequired[FailureRecord]


class CollectionErrorRecord(TypedDict):
    """A test file that could not be collected."""

    path: str
    failure: FailureRecord


class ReportRecord(TypedDict):
    """A run: every test by its id, and how the run itself ended."""

    stop: str
    stopDetail: str
    seconds: float
    isolation: str
    violations: list[str]
    tests: dict[str, TestRecord]
    collectionErrors: list[CollectionErrorRecord]


class VerdictRecord(TypedDict):
    """What was shown of a candidate, with the ids of the tests that say so."""

    kind: str
    reason: str
    fixed: list[str]
    missing: list[str]
    broken: list[str]


class RoundRecord(TypedDict):
    """One reply of the model, and what came of it."""

    number: int
    reply: str
    report: ReportRecord | None
    verdict: VerdictRecord
    feedback: str
    seconds: float


class CountRecord(TypedDict):
    """How many of the tests pass."""

    passed: int
    total: int


class ReceiptRecord(TypedDict):
    """What was proven, and how."""

    verdict: VerdictRecord
    before: CountRecord
    after: CountRecord
    rounds: int
    seconds: float
    isolation: str
    model: str
    changedLines: int
    executedLines: int
    notes: list[str]


class ProposalRecord(TypedDict):
    """A proposal with its rounds, receipt and diff."""

    verified: bool
    path: str
    target: str
    baseline: ReportRecord
    rounds: list[RoundRecord]
    receipt: ReceiptRecord
    diff: str


def proposal_record(proposal: Proposal) -> ProposalRecord:
    """Return a proposal with its rounds, receipt and diff."""
    return {
        "verified": proposal.verified,
        "path": str(proposal.task.document.path),
        "target": proposal.task.region.name,
        "baseline": report_record(proposal.baseline),
        "rounds": [_round(r) for r in proposal.rounds],
        "receipt": _receipt(proposal.receipt),
        "diff": proposal.diff(),
    }


def report_record(report: Report) -> ReportRecord:
    """Return a report with every test's outcome and the failures' details."""
    return {
        "stop": report.stop.value,
        "stopDetail": report.stop_detail,
        "seconds": round(report.seconds, 3),
        "isolation": report.isolation,
        "violations": list(report.violations),
        "tests": {test: _test(result) for test, result in report.results.items()},
        "collectionErrors": [
            {"path": str(e.path), "failure": _failure(e.failure)} for e in report.collection_errors
        ],
    }


def _test(result: TestResult) -> TestRecord:
    record: TestRecord = {"outcome": result.outcome.value, "seconds": round(result.seconds, 3)}
    if result.failure:
        record["failure"] = _failure(result.failure)
    return record


def _round(done: Round) -> RoundRecord:
    return {
        "number": done.number,
        "reply": done.reply,
        "report": report_record(done.report) if done.report else None,
        "verdict": _verdict(done.verdict),
        "feedback": done.feedback,
        "seconds": round(done.seconds, 3),
    }


def _verdict(verdict: Verdict) -> VerdictRecord:
    return {
        "kind": verdict.kind.value,
        "reason": verdict.reason,
        "fixed": sorted(verdict.fixed),
        "missing": sorted(verdict.missing),
        "broken": sorted(verdict.broken),
    }


def _receipt(receipt: Receipt) -> ReceiptRecord:
    before, after = receipt.tests_before, receipt.tests_after
    return {
        "verdict": _verdict(receipt.verdict),
        "before": {"passed": before[0], "total": before[1]},
        "after": {"passed": after[0], "total": after[1]},
        "rounds": receipt.rounds,
        "seconds": round(receipt.seconds, 3),
        "isolation": receipt.isolation,
        "model": receipt.model,
        "changedLines": receipt.changed_lines,
        "executedLines": receipt.executed_lines,
        "notes": list(receipt.notes),
    }


def _failure(failure: Failure) -> FailureRecord:
    return {
        "message": failure.message,
        "detail": failure.detail,
        "frames": [{"path": str(f.path), "line": f.line, "function": f.function} for f in failure.frames],
        "output": failure.output,
    }
