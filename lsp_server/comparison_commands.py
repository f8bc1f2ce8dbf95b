"""`oci-companion eval compare | report`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_compare(actions: Any) -> None:
    """Add the command that compares two runs to the parser's `eval` group."""
    compare = actions.add_parser(
        "compare",
        help="how two runs differ, over the tasks that both have; ends with 1 if either said that a repair passes "
        "which does not",
    )
    compare.add_argument("run_a", type=Path, metavar="A", help="a run's folder")
    compare.add_argument("run_b", type=Path, metavar="B", help="another's; differences are B's less A's")
    compare.add_argument("--other-data", action="store_true", help="even if they are of different data")
    compare.add_argument("--json", action="store_true", help="JSON on standard output")
    compare.set_defaults(run=_compare)


def add_report(actions: Any) -> None:
    """Add the command that writes a report to the parser's `eval` group."""
    report = actions.add_parser("report", help="a page about one or several runs, to be read in a browser")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    report.add_argument("--output", type=Path, required=True, metavar="FILE.html")
    report.set_defaults(run=_report)


def _compare(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.evaluation.comparison import compare, comparison_record, show_comparison
    from lsp_server.evaluation.run_folder import RunFolder

    comparison = compare(
        RunFolder.open(options.run_a), RunFolder.open(options.run_b), other_data=options.other_data
    )
    if options.json:
        print(json.dumps(comparison_record(comparison)))
    else:
        show_comparison(Console(), comparison)
    return 1 if comparison.wrong_claims else 0


def _report(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.report import report
    from lsp_server.evaluation.run_folder import EvaluationError, RunFolder

    page = report([RunFolder.open(path) for path in options.runs])
    try:
        options.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{options.output} cannot be written: {error.strerror}.") from error
    print(f"Written to {options.output}.")
    return 0
