"""Rounds of feedback, or samples: what repairs more for the same number of tokens? And in which form is feedback best?

Every strategy works on the same tasks with the same model, by `oci-companion eval repair`; each has a folder below
`--results`, in which it goes on if it was stopped. All of those that put a failure in the same words begin with the same
greedy reply, so what that repairs is not tried again. The table tells how many tasks were verified before the model had
written so many tokens for them, what a task took, and, for each strategy against the first, McNemar's test.

    python benchmarks/rounds_or_samples.py --data quixbugs.jsonl --results FOLDER [--forms]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.statistics import Pairs, mcnemar
from lsp_server.evaluation.summary import summarise
from lsp_server.evaluation.tasks import RepairTask, read_tasks, write_tasks

STRATEGIES = {
    "6 rounds": ("--rounds", "6", "--candidates", "1"),
    "6 rounds, restarts": ("--rounds", "6", "--candidates", "1", "--restart"),
    "6 samples": ("--rounds", "1", "--candidates", "6"),
    "3 rounds of 3": ("--rounds", "3", "--candidates", "3"),
}
"""The first reply is greedy; after a round of several, the feedback is on the best of them."""
CUT = {"3 rounds of 3": ("2 rounds of 3", 2)}
"""What a longer run tells of one that ends after fewer rounds: six replies at most, as the others."""
THREE_ROUNDS = ("--rounds", "3", "--candidates", "1")
FORMS = {
    "assertion values": THREE_ROUNDS,
    "official": (*THREE_ROUNDS, "--feedback-form", "official"),
    "IPython traceback": (*THREE_ROUNDS, "--feedback-form", "ipython"),
    "tests not shown": (*THREE_ROUNDS, "--hide-tests"),
    "has to say why": (*THREE_ROUNDS, "--reason"),
    "not localised": (*THREE_ROUNDS, "--no-localisation"),
}
"""Ways to put a failure; the first is ours."""
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
    parser.add_argument("--forms", action="store_true", help="compare forms of feedback, not strategies")
    parser.add_argument(
        "--only", action="append", help="of these one; can be repeated; the first is run in any case"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="tasks at once: sooner done, but seconds mean nothing"
    )
    options = parser.parse_args()
    compared = FORMS if options.forms else STRATEGIES
    if unknown := set(options.only or ()) - compared.keys():
        parser.error(f"--only takes {', '.join(compared)}; not {', '.join(unknown)}")
    first = next(iter(compared))
    tasks = read_tasks(options.data)
    runs: dict[str, Outcomes] = {first: _run(options, first, compared[first], tasks)}
    done = {} if options.forms else {id: each for id, each in runs[first].items() if _at_once(each)}
    left = [task for task in tasks if task.id not in done]
    for name in compared:
        if name != first and name in (options.only or compared):
            runs[name] = {**done, **_run(options, name, compared[name], left)}
            if name in CUT:
                shorter, rounds = CUT[name]
                runs[shorter] = {id: _ended_after(rounds, each) for id, each in runs[name].items()}
    return _table(runs)


def _run(
    options: argparse.Namespace, name: str, arguments: tuple[str, ...], tasks: list[RepairTask]
) -> Outcomes:
    """Have tasks worked on in one way, and return what came of each."""
    folder = options.results / name.replace(",", "").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    write_tasks(folder / "tasks.jsonl", tasks)
    command = [
        sys.executable,
        "-m",
        "lsp_server.cli",
        "eval",
        "repair",
        "--data",
        str(folder / "tasks.jsonl"),
    ]
    command += [
        "--model",
        options.model,
        "--interpreter",
        options.interpreter,
        "--output",
        str(folder),
        *arguments,
    ]
    # Time ends no task here: tokens are what is compared, and another machine would have other ends.
    command += ["--jobs", str(options.jobs), "--time-limit", "1200"]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    return RunFolder.open(folder).outcomes()


def _at_once(outcome: TaskOutcome) -> bool:
    return outcome.passed and len(outcome.attempts) == 1


def _ended_after(rounds: int, outcome: TaskOutcome) -> TaskOutcome:
    """Return what a run of fewer rounds would have told."""
    made = tuple(attempt for attempt in outcome.attempts if attempt.round <= rounds)
    passed = outcome.passed_by_round(rounds)
    return replace(outcome, attempts=made, passed=passed, outside=outcome.outside if passed else None)


def _table(runs: Mapping[str, Outcomes]) -> int:
    first = next(iter(runs))
    cut = {name for name, _ in CUT.values()}  # whose seconds are those of the longer run
    budgets = "".join(f"{budget:7}" for budget in BUDGETS)
    print(f"\n{'verified within tokens':24}{budgets}    all   tokens   median s")
    wrong = 0
    for name, outcomes in runs.items():
        whole = summarise(outcomes.values())
        wrong += 0 if name in cut else len(whole.wrong_claims)
        within = "".join(f"{sum(o.passed_within(budget) for o in outcomes.values()):7}" for budget in BUDGETS)
        median = f"{whole.seconds.median:11.1f}" if whole.seconds and name not in cut else ""
        against = (
            "" if name == first else f"   against {first}: p = {mcnemar(_pairs(runs[first], outcomes)):.2f}"
        )
        print(f"{name:24}{within}{whole.passed.passed:7}{whole.all_tokens:9}{median}{against}")
    print(f"\nof {len(runs[first])} tasks; verified but failing outside: {wrong}")
    return 1 if wrong else 0


def _pairs(first: Outcomes, second: Outcomes) -> Pairs:
    return Pairs.counted((first[task].passed, second[task].passed) for task in first if task in second)


if __name__ == "__main__":
    sys.exit(main())
