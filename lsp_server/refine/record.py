"""A proposal as plain JSON values, for `--json` and for whoever keeps it."""

from __future__ import annotations

from typing import Any

from lsp_server.refine.proposal import Proposal, Receipt, Round, Verdict
from runner.report import Failure, Report


def proposal_record(proposal: Proposal) -> dict[str, Any]:
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


def report_record(report: Report) -> dict[str, Any]:
    """Return a report with every test's outcome and the failures' details."""
    return {
        "stop": report.stop.value,
        "stopDetail": report.stop_detail,
        "seconds": round(report.seconds, 3),
        "isolation": report.isolation,
        "violations": list(report.violations),
        "tests": {
            i: {
                "outcome": r.outcome.value,
                "seconds": round(r.seconds, 3),
                **({"failure": _failure(r.failure)} if r.failure else {}),
            }
            for i, r in report.results.items()
        },
        "collectionErrors": [
            {"path": str(e.path), "failure": _failure(e.failure)} for e in report.collection_errors
        ],
    }


def _round(done: Round) -> dict[str, Any]:
    return {
        "number": done.number,
        "reply": done.reply,
        "report": report_record(done.report) if done.report else None,
        "verdict": _verdict(done.verdict),
        "feedback": done.feedback,
        "seconds": round(done.seconds, 3),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": verdict.kind.value,
        "reason": verdict.reason,
        "fixed": sorted(verdict.fixed),
        "missing": sorted(verdict.missing),
        "broken": sorted(verdict.broken),
    }


def _receipt(receipt: Receipt) -> dict[str, Any]:
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


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "message": failure.message,
        "detail": failure.detail,
        "frames": [{"path": str(f.path), "line": f.line, "function": f.function} for f in failure.frames],
        "output": failure.output,
    }
