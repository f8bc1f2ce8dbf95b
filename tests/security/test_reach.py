"""What a hostile candidate reaches of the user's files, processes, network and secrets.

Each attack is a function that succeeds if it reaches its aim. In the sandbox each must fail; with the sandbox off
each succeeds against harmless stand-ins, which shows that the attack is real.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.report import Outcome, Report
from tests.unit.runner_project import Project, need_bubblewrap

ATTACKS = """
import ctypes, json, os, signal, socket, stat
from pathlib import Path

AIM = json.loads(Path("aim.json").read_text())
OUTSIDE = Path(AIM["outside"])
libc = ctypes.CDLL(None, use_errno=True)

def read_secret():
    assert (OUTSIDE / "secret").read_text() == "hunter2"

def list_home():
    assert "secret" in os.listdir(OUTSIDE)

def write_outside():
    (OUTSIDE / "written").write_text("x")
    assert seen("written")

def overwrite_outside():
    (OUTSIDE / "overwritten").write_text("x")

def symlink_outside():
    (OUTSIDE / "link").symlink_to("/etc/passwd")

def write_through_symlink():
    Path("way-out").symlink_to(OUTSIDE / "through")
    Path("way-out").write_text("x")

def rename_outside():
    os.rename(OUTSIDE / "to-rename", OUTSIDE / "renamed")

def unlink_outside():
    os.unlink(OUTSIDE / "to-unlink")

def chmod_outside():
    os.chmod(OUTSIDE / "to-chmod", 0o777)

def seen(name):
    return (OUTSIDE / name).exists()

def tcp_to_host():
    with socket.create_connection(("127.0.0.1", AIM["tcp"]), timeout=2):
        pass

def udp_to_host():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(("127.0.0.1", AIM["udp"]))
        s.send(b"x")
        s.send(b"x")  # the refusal of the first one

def unix_socket_of_host():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(AIM["unix"])

def abstract_socket_of_host():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\\0" + AIM["abstract"])

def vsock():
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()

def signal_host_process():
    os.kill(AIM["victim"], signal.SIGUSR1)

def environment_of_host_process():
    assert b"VICTIM_TOKEN" in Path(f"/proc/{AIM['victim']}/environ").read_bytes()

def see_host_process():
    assert any(b"victim-process" in read(p) for p in Path("/proc").glob("[0-9]*/cmdline"))

def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""

def ptrace_host_process():
    assert libc.ptrace(16, AIM["victim"], 0, 0) == 0, "PTRACE_ATTACH"
    os.waitpid(AIM["victim"], 0)
    libc.ptrace(17, AIM["victim"], 0, 0)

def inherited_descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            os.lseek(int(name), 0, os.SEEK_SET)
            assert b"by descriptor" not in os.read(int(name), 100)
        except OSError:
            continue
    assert not any("by-descriptor" in link for link in links()), "seen"

def links():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue

def secrets_of_the_environment():
    assert any("s3cret" in value for value in os.environ.values())

def proc_root_of_init():
    assert "hunter2" in Path(f"/proc/1/root{OUTSIDE}/secret").read_text()

def proc_cwd_of_parent():
    assert "hunter2" in Path(f"/proc/{os.getppid()}/root{OUTSIDE}/secret").read_text()

def write_kernel_settings():
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))

def press_magic_keys():
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))

def chmod_device():
    os.chmod("/dev/null", stat.S_IMODE(os.stat("/dev/null").st_mode))

def chmod_program():
    os.chmod("/usr/bin/env", stat.S_IMODE(os.stat("/usr/bin/env").st_mode))

def new_user_namespace():
    assert libc.unshare(0x10000000) == 0

def mount_something():
    assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0

def io_uring():
    parameters = ctypes.create_string_buffer(120)
    assert libc.syscall(425, 1, parameters) >= 0

def keyring():
    assert libc.syscall({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 1) >= 0

def capabilities():
    status = Path("/proc/self/status").read_text()
    assert int(status.split("CapEff:")[1].split()[0], 16) != 0

def gain_privileges():
    assert "NoNewPrivs:\\t0" in Path("/proc/self/status").read_text()
"""

NAMES = [
    line[4:-3]
    for line in ATTACKS.splitlines()
    if line.startswith("def ") and line.endswith("():") and line[4:-3] != "links"
]
# Run with the sandbox off as well: only what aims at a stand-in of these tests. Never add what changes the machine
# (mounts, sysctls, namespaces): these tests also run as root.
HARMLESS = [
    *(
        "read_secret",
        "list_home",
        "write_outside",
        "overwrite_outside",
        "symlink_outside",
        "write_through_symlink",
    ),
    *(
        "rename_outside",
        "unlink_outside",
        "chmod_outside",
        "tcp_to_host",
        "udp_to_host",
        "unix_socket_of_host",
    ),
    *("abstract_socket_of_host", "signal_host_process", "environment_of_host_process", "see_host_process"),
    *("secrets_of_the_environment", "proc_cwd_of_parent"),
]
OPEN_TO_LANDLOCK = {"chmod_outside", "see_host_process", "chmod_device", "chmod_program"}
"""Stated limits of that level (`landlock.LIMITS`); a companion that runs as root owns the devices and programs."""
NEEDS_NAMESPACES = {"mount_something"}
"""Not even tried without namespaces of one's own: if it worked, it would harm the machine."""
INVERTED = {"inherited_descriptors"}
"""Those that are written as a check: they pass if they reach nothing."""


class Aims:
    """Stand-ins for what a user has: a home with a secret, services, a process with a token in its environment."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("to-rename", "to-unlink", "to-chmod", "overwritten"):
            (self.home / name).write_text("kept")
            (self.home / name).chmod(0o600)
        (self.home / "secret").write_text("hunter2")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.home / "agent.sock"))
        self.unix.listen()
        self.abstract = socket.socket(socket.AF_UNIX)
        name = f"oci-abstract-{os.getpid()}-{folder.name}"
        self.abstract.bind("\0" + name)
        self.abstract.listen()
        self.victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, "victim-process"],
            env={"VICTIM_TOKEN": "t"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.victim.stdout is not None
        assert self.victim.stdout.readline() == "ready\n"
        self.aim = {
            "outside": str(self.home),
            "tcp": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "unix": str(self.home / "agent.sock"),
            "abstract": name,
            "victim": self.victim.pid,
        }

    def close(self) -> None:
        """Close the services and end the process."""
        for each in (self.tcp, self.udp, self.unix, self.abstract):
            each.close()
        self.victim.kill()
        self.victim.communicate()

    def untouched(self) -> bool:
        """Whether nothing of the home was changed."""
        return {path.name for path in self.home.iterdir()} == {
            *("agent.sock", "secret", "to-rename", "to-unlink", "to-chmod", "overwritten")
        } and all(
            (self.home / name).read_text() == "kept" and (self.home / name).stat().st_mode & 0o777 == 0o600
            for name in ("to-rename", "to-unlink", "to-chmod", "overwritten")
        )


VICTIM = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *a: None)
print("ready", flush=True)
time.sleep(300)
"""


def run(folder: Path, level: str, aims: Aims, names: list[str]) -> Report:
    project = Project(folder / "work space", {"aim.json": json.dumps(aims.aim), "candidate.py": ""})
    test = "import candidate\n" + "".join(f"\ndef test_{name}():\n    candidate.{name}()\n" for name in names)
    project.write("test_attack.py", test)
    return project.run("test_attack.py", files={"candidate.py": ATTACKS}, level=level)


@pytest.fixture(scope="module", autouse=True)
def descriptors_and_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    need_bubblewrap()
    path = tmp_path_factory.mktemp("open") / "by-descriptor"
    path.write_text("by descriptor")
    os.environ["API_TOKEN"] = "s3cret"
    with path.open() as file:
        os.set_inheritable(file.fileno(), True)
        yield
    del os.environ["API_TOKEN"]


@pytest.fixture(scope="module", params=["bubblewrap", "warm", "landlock"])
def sandboxed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Report, Aims]]:
    folder = tmp_path_factory.mktemp("sandboxed")
    aims = Aims(folder)
    names = [
        name
        for name in NAMES
        if request.param != "landlock" or name not in OPEN_TO_LANDLOCK | NEEDS_NAMESPACES
    ]
    yield run(folder, request.param, aims, names), aims
    aims.close()


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    folder = tmp_path_factory.mktemp("unprotected")
    aims = Aims(folder)
    yield run(folder, "off", aims, HARMLESS)
    aims.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_sandbox_shuts(sandboxed: tuple[Report, Aims], name: str) -> None:
    if name == "chmod_device" and os.getuid() == 0:
        pytest.skip("a stated limit: run by root, the sandbox's user owns the machine's /dev/null")
    if sandboxed[0].isolation == "landlock":
        if name in OPEN_TO_LANDLOCK:
            pytest.skip("a stated limit of the Landlock level")
        if name in NEEDS_NAMESPACES:
            pytest.skip("not tried: it would harm the machine if it worked")
    result = sandboxed[0].results[f"test_attack.py::test_{name}"]
    shut = Outcome.PASSED if name in INVERTED else Outcome.FAILED
    assert result.outcome is shut, result


@pytest.mark.parametrize("name", HARMLESS)
def test_the_attack_is_real_with_the_sandbox_off(unprotected: Report, name: str) -> None:
    result = unprotected.results[f"test_attack.py::test_{name}"]
    assert result.outcome is Outcome.PASSED, result


def test_nothing_outside_was_touched_and_no_service_was_reached(sandboxed: tuple[Report, Aims]) -> None:
    _, aims = sandboxed
    assert aims.untouched()
    with pytest.raises(BlockingIOError):
        aims.udp.recv(1)
    assert aims.victim.poll() is None


def test_home_holds_nothing_of_the_users(tmp_path: Path) -> None:
    test = f"""
        import os
        from pathlib import Path

        def test_home():
            assert list(Path.home().iterdir()) == []
            real = Path({str(Path.home())!r})
            shown = set(os.listdir(real)) if real.is_dir() and real != Path("/") else set()
            assert not {{name for name in shown if name.startswith(".ssh") or name.endswith("history")}}
            assert not Path("/etc/shadow").exists()
            assert not Path("/var").exists()
    """
    report = Project(tmp_path, {"test_h.py": test}).run("test_h.py")
    assert report.passed == {"test_h.py::test_home"}, report


@pytest.mark.parametrize("level", ["bubblewrap", "warm", "landlock"])
def test_what_the_user_opens_to_reading_can_be_read_and_nothing_beside_it(tmp_path: Path, level: str) -> None:
    data = tmp_path / "data"
    for name in ("shared", "private"):
        (data / name).mkdir(parents=True)
        (data / name / "text").write_text(name)
    test = f"""
        from pathlib import Path
        import pytest

        DATA = Path({str(data)!r})

        def test_read():
            assert (DATA / "shared" / "text").read_text() == "shared"

        def test_write():
            with pytest.raises(OSError):
                (DATA / "shared" / "text").write_text("changed")
            with pytest.raises(OSError):
                (DATA / "shared" / "new").write_text("")

        def test_beside():
            with pytest.raises(OSError):
                (DATA / "private" / "text").read_text()
    """
    project = Project(tmp_path / "project", {"test_h.py": test})
    shown = (data / "shared", data / "not there")
    report = project.run("test_h.py", level=level, readable=shown)
    assert report.passed == {f"test_h.py::test_{name}" for name in ("read", "write", "beside")}, report
    assert report.passed != project.run("test_h.py", level=level).passed
    assert (data / "shared" / "text").read_text() == "shared"


@pytest.mark.parametrize("level", ["bubblewrap", "landlock"])
def test_what_is_written_where_the_user_allows_it_stays(tmp_path: Path, level: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    test = f"""
        from pathlib import Path

        def test_write():
            Path({str(allowed / "file")!r}).write_text("written")
    """
    report = Project(tmp_path / "project", {"test_h.py": test}).run(
        "test_h.py", level=level, writable=(allowed,)
    )
    assert not report.failed, report
    assert (allowed / "file").read_text() == "written"


@pytest.mark.parametrize("level", ["bubblewrap", "warm", "landlock"])
def test_honest_tests_still_have_loopback_processes_and_temporary_files(tmp_path: Path, level: str) -> None:
    test = """
        import multiprocessing, os, socket, subprocess, sys, tempfile, threading
        from concurrent.futures import ThreadPoolExecutor

        def double(n):
            return 2 * n

        def test_loopback():
            with socket.create_server(("localhost", 0)) as server:
                with socket.create_connection(server.getsockname()):
                    pass

        def test_processes():
            with multiprocessing.Pool(2) as pool:
                assert pool.map(double, [1, 2]) == [2, 4]

        def test_subprocess():
            assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\\n"

        def test_threads():
            with ThreadPoolExecutor(20) as pool:
                assert list(pool.map(double, range(20)))[-1] == 38

        def test_temporary(tmp_path):
            (tmp_path / "x").write_text("x")
            with tempfile.NamedTemporaryFile() as file:
                os.chmod(file.name, 0o644)

        def test_names():
            import getpass, pwd
            assert pwd.getpwuid(os.getuid()).pw_name == getpass.getuser() == "user"
    """
    report = Project(tmp_path, {"test_h.py": test}).run("test_h.py", level=level)
    unable = {"test_loopback", "test_processes", "test_names"} if level == "landlock" else set()
    assert report.failed == {f"test_h.py::{name}" for name in unable}, report
