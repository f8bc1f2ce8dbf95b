"""How many of QuixBugs' 40 Python bugs does `oci-companion fix` repair, in which round, in what time?

Each task gets a folder of its own, holding its buggy file and its tests, and `fix` is pointed at the tests: the
target has to be found. Each repair that we call verified is applied to a copy and checked again outside of our
code, by plain pytest. The bugs are nobody's here, and nothing was tuned to them.

    python benchmarks/quixbugs.py --data quixbugs.jsonl

A row of the data: `{id, files: {path: text}, tests: [path], target, solution: {path: text}}`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the tasks, print a line for each and the totals; 1 if a verified repair fails outside."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the tasks, one JSON object a line")
    parser.add_argument("--model", default="", help="catalog id; empty for the default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds per task")
    parser.add_argument("--interpreter", default=sys.executable, help="a Python with pytest, for the tests")
    parser.add_argument("--only", default="", help="a part of the ids")
    parser.add_argument(
        "--results", type=Path, help="where each task's JSON goes, one line each; resumed if it exists"
    )
    options = parser.parse_args()
    tasks = [json.loads(line) for line in options.data.read_text().splitlines()]
    tasks = [task for task in tasks if options.only in task["id"]]
    done = _done(options.results)
    rows = []
    for task in tasks:
        row = done.get(task["id"]) or _run(task, options)
        if options.results and task["id"] not in done:
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
        rows.append(row)
        print(_line(row), flush=True)
    return _summary(rows, options)


def _run(task: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for path, text in task["files"].items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text)
        command = [
            *(sys.executable, "-m", "lsp_server.cli", "fix", task["tests"][0], "--json", "--workspace", "."),
            *(
                "--interpreter",
                options.interpreter,
                "--model",
                options.model,
                "--rounds",
                str(options.rounds),
            ),
            *("--candidates", str(options.candidates), "--time-limit", str(options.time_limit)),
        ]
        started = time.monotonic()
        run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        try:
            answer = json.loads(run.stdout)
        except json.JSONDecodeError:
            answer = {"verified": False, "error": run.stderr[-2000:]}
        row = {
            "id": task["id"],
            "verified": answer["verified"],
            "round": len(answer.get("rounds", [])),
            "seconds": round(seconds, 1),
            "outside": None,
            "target": answer.get("path") == task["target"],
            "answer": answer,
        }
        if answer["verified"]:
            row["outside"] = _passes_outside(project, answer["diff"], task["tests"], options.interpreter)
        return row


def _passes_outside(project: Path, diff: str, tests: list[str], interpreter: str) -> bool:
    """Apply a diff with `patch` and run plain pytest."""
    subprocess.run(["patch", "-p1", "--silent"], input=diff, text=True, cwd=project, check=True)
    pytest = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    try:
        return (
            subprocess.run(pytest, cwd=project, capture_output=True, timeout=120, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _done(results: Path | None) -> dict[str, dict[str, Any]]:
    if results is None or not results.is_file():
        return {}
    return {row["id"]: row for row in map(json.loads, results.read_text().splitlines())}


def _line(row: dict[str, Any]) -> str:
    verdict = "verified" if row["verified"] else "-"
    outside = {True: "passes outside", False: "FAILS OUTSIDE", None: ""}[row["outside"]]
    error = row["answer"].get("error", "").strip().splitlines()[-1:]
    return f"{row['id']:40} {verdict:9} round {row['round']}  {row['seconds']:6.1f} s  {outside}{' '.join(error)}"


def _summary(rows: list[dict[str, Any]], options: argparse.Namespace) -> int:
    verified = [row for row in rows if row["verified"]]
    wrong = [row for row in verified if not row["outside"]]
    by_round = [sum(row["round"] == n for row in verified) for n in range(1, options.rounds + 1)]
    times = [row["seconds"] for row in rows]
    print(f"\n{platform.machine()}, Python {platform.python_version()}, model {options.model or 'default'}")
    print(
        f"verified {len(verified)} of {len(rows)}, by round {by_round}; verified but failing outside: {len(wrong)}"
    )
    print(f"right file found: {sum(row['target'] for row in rows)} of {len(rows)}")
    print(
        f"seconds a task: median {statistics.median(times):.1f}, longest {max(times):.1f}, all {sum(times):.0f}"
    )
    if verified:
        print(f"seconds a verified task: median {statistics.median(r['seconds'] for r in verified):.1f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
