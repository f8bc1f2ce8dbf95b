#!/usr/bin/env python3
"""Set everything up and run: `python3 run.py demo` or `python3 run.py test`. Needs Python 3.11 and pip, nothing else.

What is installed goes into `.venv` here; the model, and the VS Code that the extension is tested in, go into the user's
data folder (`OCI_COMPANION_HOME` moves it). All are kept, so a second call is fast. `test` needs Debian's chromium and
emacs as well: root's call installs them, others are told the command.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
TESTS_FAILED = 1
"""pytest's exit status: some tests have failed, and all were run."""


def install(extra: str) -> None:
    """Make `.venv` with the pinned packages of an extra; does nothing if that has been done."""
    pins = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    marker = ENVIRONMENT / f"installed-{extra}"
    if marker.is_file() and marker.read_text() == pins:
        return
    print(f"Setting up {ENVIRONMENT}: a few minutes the first time.", flush=True)
    if not (BIN / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    run(
        "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--editable",
        f".[{extra}]",
    )
    marker.write_text(pins)


def run(program: str, *arguments: str) -> None:
    """Run a program of the environment; if it fails, end with its exit status."""
    if status := status_of(program, *arguments):
        sys.exit(status)


def status_of(program: str, *arguments: str) -> int:
    """Run a program of the environment; return its exit status."""
    return subprocess.run([str(BIN / program), *arguments], cwd=HERE, check=False).returncode


def demo() -> None:
    """Get the default model and repair the bundled example with it."""
    install("demo")
    run("oci-companion", "demo")


def test(*arguments: str) -> None:
    """Run every check and every test; further arguments go to pytest."""
    install("dev")
    run("ruff", "check")
    run("ruff", "format", "--check")
    run("mypy")
    run("lint-imports")
    run("oci-companion", "model", "pull")
    run("oci-companion", "model", "export")
    browser = status_of("python", "-m", "tests.vscode")
    if (status := status_of("python", "-m", "pytest", *arguments)) == TESTS_FAILED:
        # As a file of browser tests is: one in 1,700 may not stand a machine that others use, too.
        print("What failed is run once more. A test that passes now is flaky, and wants mending.", flush=True)
        run("python", "-m", "pytest", "--last-failed", "--last-failed-no-failures=none", *arguments)
    elif status:
        sys.exit(status)
    if browser:
        sys.exit(f"The tests in VS Code failed (exit status {browser}): see above.")


if __name__ == "__main__":
    commands = {"demo": demo, "test": test}
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may have an older one
        sys.exit(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}.")
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
