"""A worker process: a job's path comes in, JSON lines come out."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[str], None]
"""Called with a line that says what is done next."""


def perform(
    job_file: str,
    run: Callable[[dict[str, Any], Step], dict[str, Any]],
    told: tuple[type[Exception], ...] = (),
) -> int:
    """Run a job, reporting `{"step": …}` lines and at last `{"done": …}` or `{"error": …}`; return the exit status.

    Args:
        job_file: JSON.
        run: is given the job and a `Step`; returns figures.
        told: exceptions whose message is enough for the user to know what is wrong.
    """
    # Libraries print at will: their chatter goes to the log (stderr), the report keeps a stdout of its own.
    report = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def say(**fields: Any) -> None:
        report.write(json.dumps(fields) + "\n")

    try:
        job = json.loads(Path(job_file).read_text(encoding="utf-8"))
        say(done=run(job, lambda text: say(step=text)))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        say(error=str(error) if isinstance(error, told) else f"{type(error).__name__}: {error}")
        return 1
    return 0
