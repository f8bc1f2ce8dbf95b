"""Rounds of feedback, or samples: what repairs more for the same number of tokens?

Every strategy works on the same tasks with the same model, by `oci-companion eval repair`; each has a folder below
`--results`, in which it goes on if it was stopped. The table tells how many tasks were verified before the model had
written so many tokens for them, what a task took, and, for each strategy against the first, McNemar's test.

    python benchmarks/rounds_or_samples.py --data quixbugs.jsonl --results FOLDER
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.statistics import Pairs, mcnemar
from lsp_server.evaluation.summary import summarise

STRATEGIES = {
    "3 rounds": ("--rounds", "3", "--candidates", "1"),
    "8 samples": ("--rounds", "1", "--candidates", "8"),
    "3 rounds of 3": ("--rounds", "3", "--candidates", "3"),
}
"""The first sample is the greedy reply; after a round of several, the feedback is on the best of them."""
BUDGETS = (100, 200, 400, 800, 1600)
"""Tokens written for a task."""

Outcomes = Mapping[str, TaskOutcome]


def main() -> int:
    """Run what has not been run, and print the table; 1 if a claimed repair fails outside."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="repair tasks, one JSON object a line")
    parser.add_argument("--results", type=Path, required=True, help="a folder; runs in it go on")
    parser.add_argument("--model", default="", help="catalog id; empty for the default")
    parser.add_argument("--interpreter", default=sys.executable, help="a Python with pytest, for the tests")
    parser.add_argument(
        "--strategy", action="append", choices=STRATEGIES, help="only this one; can be repeated"
    )
    options = parser.parse_args()
    runs: dict[str, Outcomes] = {}
    for name in options.strategy or STRATEGIES:
        folder = options.results / name.replace(" ", "-")
        command = [sys.executable, "-m", "lsp_server.cli", "eval", "repair", "--data", str(options.data)]
        command += ["--model", options.model, "--interpreter", options.interpreter, "--output", str(folder)]
        # Time ends no task here: tokens are what is compared, and another machine would have other ends.
        done = subprocess.run([*command, *STRATEGIES[name], "--time-limit", "1200"], check=False)
        if done.returncode == 2:
            return 2
        runs[name] = RunFolder.open(folder).outcomes()
    return _table(runs)


def _table(runs: Mapping[str, Outcomes]) -> int:
    first = next(iter(runs))
    print(
        f"\n{'verified within tokens':24}"
        + "".join(f"{budget:7}" for budget in BUDGETS)
        + "    all   median s"
    )
    wrong = 0
    for name, outcomes in runs.items():
        whole = summarise(outcomes.values())
        wrong += len(whole.wrong_claims)
        within = "".join(f"{sum(o.passed_within(budget) for o in outcomes.values()):7}" for budget in BUDGETS)
        median = f"{whole.seconds.median:9.1f}" if whole.seconds else ""
        against = (
            "" if name == first else f"   against {first}: p = {mcnemar(_pairs(runs[first], outcomes)):.2f}"
        )
        print(f"{name:24}{within}{whole.passed.passed:7}{median}{against}")
    print(f"\nof {len(runs[first])} tasks; verified but failing outside: {wrong}")
    return 1 if wrong else 0


def _pairs(first: Outcomes, second: Outcomes) -> Pairs:
    counted = [(first[task].passed, second[task].passed) for task in first if task in second]
    return Pairs(
        *(counted.count(each) for each in ((True, True), (True, False), (False, True), (False, False)))
    )


if __name__ == "__main__":
    sys.exit(main())
