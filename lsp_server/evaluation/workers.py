"""Several tasks at once, where the engine serves several requests faster than one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from lsp_server.evaluation.outcome import TaskOutcome

Task = TypeVar("Task")


def work_on(
    tasks: Iterable[Task], work: Callable[[Task], TaskOutcome], jobs: int, cancel: threading.Event
) -> Generator[TaskOutcome]:
    """Yield what comes of each task, as they end; one is begun only when what has ended was taken.

    Args:
        tasks: in the order in which they are begun.
        work: does one; called from threads.
        jobs: so many at once.
        cancel: is set when an error, or the caller, ends it, so that those that still run do not go on.
    """
    left = iter(tasks)
    running: set[Future[TaskOutcome]] = set()
    with ThreadPoolExecutor(jobs, thread_name_prefix="evaluation") as pool:
        try:
            while True:
                while len(running) < jobs and (task := next(left, None)) is not None:
                    running.add(pool.submit(work, task))
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                # What has come to its end is kept, whatever became of the others.
                for each in sorted(ended, key=lambda each: each.exception() is not None):
                    yield each.result()
        except BaseException:
            cancel.set()
            raise
