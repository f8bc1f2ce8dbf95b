"""What a git repository holds, read so that none of its own settings run anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lsp_server.evaluation.run_folder import EvaluationError

_PLAIN = ("-c", "log.showSignature=false", "-c", "core.fsmonitor=false")
"""Settings of a repository could name programs for these."""
_FILE, _PROGRAM, _LINK = "100644", "100755", "120000"
_CHUNK = 1 << 16


def git(repository: Path, *arguments: str) -> bytes:
    """Run git to its end and return what it says.

    Args:
        repository: a folder in it.
        arguments: the command and its options.

    Raises:
        EvaluationError: git is missing, or refuses.
    """
    with _started(repository, arguments) as process:
        said, error = process.communicate()
    if process.returncode:
        raise EvaluationError(
            f"git {arguments[0]} in {repository}: {error.decode('utf-8', 'replace').strip()}"
        )
    return said


def root_of(repository: Path) -> Path:
    """Return the root of the git repository that a folder is in.

    Raises:
        EvaluationError: it is in none, or git is missing.
    """
    return Path(os.fsdecode(git(repository, "rev-parse", "--show-toplevel")).rstrip("\n"))


def records(repository: Path, separator: bytes, *arguments: str) -> Iterator[bytes]:
    """Yield what git says piece by piece, as it says it.

    Args:
        repository: a folder in it.
        separator: stands in front of each piece; what comes before the first is left out.
        arguments: the command and its options.

    Raises:
        EvaluationError: git is missing, or refuses.
    """
    with _started(repository, arguments) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            begun, rest = False, b""
            while chunk := os.read(process.stdout.fileno(), _CHUNK):
                *whole, rest = (rest + chunk).split(separator)
                for each in whole:
                    if begun:
                        yield each
                    begun = True
            if begun:
                yield rest
            error = process.stderr.read().decode("utf-8", "replace").strip()
        finally:
            process.kill()
        if process.wait() > 0:
            raise EvaluationError(f"git {arguments[0]} in {repository}: {error}")


def check_out(repository: Path, commit: str, folder: Path) -> None:
    """Write a commit's files into an empty folder, byte for byte, and nothing of its history.

    Unlike `git archive` and `git checkout` this heeds no attributes, which could leave tests out, and runs no filters.
    Links that lead out of the folder, and submodules, are left out.

    Args:
        repository: a folder in it.
        commit: its id.
        folder: where to.

    Raises:
        EvaluationError: there is no such commit, or a name in it cannot be written here.
    """
    entries = []
    for line in git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, _, blob = about.decode("ascii").split(" ")
        path = PurePosixPath(os.fsdecode(name))
        if path.is_absolute() or ".." in path.parts:
            raise EvaluationError(f"{commit} in {repository} names a file outside of it: {path}")
        entries.append((mode, blob, path))
    links = []
    with _started(repository, ["cat-file", "--batch"]) as process:
        try:
            for mode, blob, path in entries:
                if mode not in (_FILE, _PROGRAM, _LINK):
                    continue
                content = _blob(process, blob)
                if mode == _LINK:
                    links.append((path, os.fsdecode(content)))
                    continue
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                file.chmod(0o755 if mode == _PROGRAM else 0o644)
        except OSError as error:
            raise EvaluationError(f"{commit} of {repository} cannot be written down: {error}") from error
        finally:
            process.kill()
    # Last, so that nothing is written through one.
    for path, leads_to in links:
        link = folder / path
        if not os.path.lexists(link) and (link.parent / leads_to).resolve().is_relative_to(folder.resolve()):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(leads_to)


def _blob(process: subprocess.Popen[bytes], blob: str) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{blob}\n".encode("ascii"))
    process.stdin.flush()
    about = process.stdout.readline().split()
    if len(about) != 3:
        raise EvaluationError(
            f"git has no {blob}: the repository is not whole, such as a shallow or partial clone."
        )
    content = process.stdout.read(int(about[2]))
    process.stdout.read(1)
    return content


def _started(repository: Path, arguments: list[str] | tuple[str, ...]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *_PLAIN, "-C", str(repository), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C in a terminal is ours to answer
        )
    except FileNotFoundError as error:
        raise EvaluationError("git is not installed, or not on PATH: a history cannot be read.") from error
