"""No isolation: a copy of the workspace, so that the user's files are at least not written by the run itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox import copy, show
from runner.sandbox.launch import INSIDE, Launch


def launch(request: TestRequest, interpreter: Interpreter, descriptors: Iterable[int] = ()) -> Launch:
    """Return the command that runs the driver on a copy of the workspace with the request's texts in it.

    Args:
        request: what is run, and on what.
        interpreter: the user's.
        descriptors: what the driver inherits besides its standard streams.
    """
    temporary, workspace = copy.make(request)
    driver = [str(interpreter.executable), "-X", "faulthandler", str(INSIDE / "driver.py")]
    return Launch(
        level="off",
        wrapper=[sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py"))],
        program=driver,
        workspace=workspace,
        environment={
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            **show.python_path(workspace / each for each in request.import_folders),
        },
        descriptors=list(descriptors),
        cache=str(temporary / "pytest-cache"),
        temporary=temporary,
        guarded=copy.guard(workspace, request.tests),
    )
