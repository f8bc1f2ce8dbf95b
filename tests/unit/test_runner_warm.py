"""Runs in forks: they say what a process of its own says, and nothing of one reaches the next."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner import interpreter
from runner.report import Outcome, Report, Stop
from runner.sandbox.limits import descendants
from runner.warm import WarmProcesses
from tests.unit.runner_project import Limits, Project, need_bubblewrap, only


@pytest.fixture
def warm() -> Iterator[WarmProcesses]:
    need_bubblewrap()
    made = WarmProcesses()
    yield made
    made.close()


def prepared(project: Project, warm: WarmProcesses, *tests: str) -> None:
    """Run once, and wait for what that starts."""
    assert not project.run(*tests, warm=warm).warm
    warm.settle()


def forked(project: Project, warm: WarmProcesses, *tests: str, **more: object) -> Report:
    """Run in a fork."""
    report = project.run(*tests, warm=warm, **more)
    assert report.warm
    warm.settle()
    return report


EVERYTHING = """
    import os, sys, unittest
    import pytest
    from package import calc

    def test_passes(value):
        assert calc.double(value) == 4

    def test_fails(value):
        print("seen on the way")
        assert calc.double(value) == 5, "no"

    @pytest.mark.parametrize("n", [1, "a b", None])
    def test_parameters(n):
        assert n != 1

    def test_fixture_fails(broken):
        pass

    @pytest.mark.xfail
    def test_xfail():
        assert 0

    @pytest.mark.xfail
    def test_xpass():
        pass

    @pytest.mark.skip
    def test_skip():
        pass

    class TestClass:
        def test_method(self, tmp_path, monkeypatch):
            monkeypatch.setenv("HERE", "1")
            (tmp_path / "x").write_text("x")
            assert not calc.double(1) == 2

    class Case(unittest.TestCase):
        def setUp(self):
            self.n = 1

        def test_case(self):
            self.assertEqual(self.n, 2)

        def test_sub(self):
            for n in range(3):
                with self.subTest(n=n):
                    self.assertNotEqual(n, 1)

    def test_where():
        assert os.getcwd() == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        assert sys.path[0] in (os.getcwd(), os.path.join(os.getcwd(), "tests"))

    def test_imports():
        assert not [name for name in sys.modules if name.startswith("package.")] == []

    def test_exits():
        sys.exit(3)
"""
PROJECT = {
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-x --strict-markers"\nmarkers = ["slow: of a kind"]\n',
    "package/__init__.py": "",
    "package/calc.py": 'def double(n):\n    """\n    >>> double(2)\n    5\n    """\n    return n + n\n',
    "conftest.py": "import pytest\n\n@pytest.fixture\ndef value():\n    return 2\n",
    "tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef broken():\n    raise ValueError('of the fixture')\n",
    "tests/test_all.py": EVERYTHING,
    "tests/test_broken.py": "import not_there\n",
    "tests/test_syntax.py": "def test_x(:\n",
}


def said(report: Report) -> dict[str, str]:
    """What a report says, without its times and addresses."""
    found: dict[str, object] = {
        test: (result.outcome, result.failure, sorted(result.executed.items()))
        for test, result in report.results.items()
    }
    found["errors"] = report.collection_errors
    found |= {"stop": (report.stop, report.stop_detail), "violations": report.violations}
    return {name: re.sub("0x[0-9a-f]+", "0x", repr(each)) for name, each in found.items()}


@pytest.mark.parametrize("trace", ["no", "lines"])
def test_a_fork_says_what_a_process_of_its_own_says(tmp_path: Path, warm: WarmProcesses, trace: str) -> None:
    project = Project(tmp_path, PROJECT)
    tests = [f"tests/{name}.py" for name in ("test_all", "test_broken", "test_syntax")]
    prepared(project, warm, *tests)
    doctests = [Path("package/calc.py")]
    for files in ({}, {"package/calc.py": "def double(n):\n    return 2 * n + 1\n"}):
        cold = project.run(*tests, files=files, trace=trace, doctest_modules=doctests)
        assert len(cold.results) > 12
        assert said(
            forked(project, warm, *tests, files=files, trace=trace, doctest_modules=doctests)
        ) == said(cold)


def test_single_tests_and_ids_that_do_not_exist(tmp_path: Path, warm: WarmProcesses) -> None:
    project = Project(tmp_path, PROJECT)
    prepared(project, warm, "tests/test_all.py")
    wanted = ("tests/test_all.py::TestClass", "tests/test_all.py::test_none", "tests/test_none.py")
    expected = frozenset({"tests/test_all.py::test_none"})
    assert said(forked(project, warm, *wanted, expected=expected)) == said(
        project.run(*wanted, expected=expected)
    )


TRACES = """
    import os, socket, subprocess, sys, tempfile
    from pathlib import Path
    import value

    def traces():
        found = [p for p in ("left", "value.py.bak", "/tmp/left", "/dev/shm/left") if os.path.exists(p)]
        found += [name for name in ("LEFT",) if name in os.environ]
        found += ["conftest"] if "changed" in Path("conftest.py").read_text() else []
        found += ["home"] if os.listdir(Path.home()) else []
        found += ["bytecode"] if list(Path(".").glob("**/*.pyc")) else []
        found += ["module"] if hasattr(sys, "left") or hasattr(os.path, "left") else []
        found += ["temporary"] if os.path.exists(os.path.join(tempfile.gettempdir(), "pytest-of-user")) else []
        processes = [p for p in os.listdir("/proc") if p.isdigit()]
        found += ["processes"] if len(processes) != value.PROCESSES else []
        return found

    def test_first():
        assert traces() == []

    def test_leave(tmp_path):
        print("captured")
        for path in ("left", "/tmp/left", "/dev/shm/left", Path.home() / "left"):
            Path(path).write_text("x")
        os.environ["LEFT"] = "1"
        sys.left = os.path.left = 1
        os.mkdir("__pycache__")
        Path("__pycache__/value.pyc").write_text("x")
        os.mkdir("folder")
        os.rename("other.py", "folder/moved.py")
        os.chmod(".", 0o700)
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        assert value.N == 0
"""


def test_nothing_that_a_run_leaves_reaches_the_next(tmp_path: Path, warm: WarmProcesses) -> None:
    project = Project(tmp_path, {"other.py": "", "value.py": "N = -1\nPROCESSES = 2\n", "conftest.py": ""})
    project.write("test_t.py", TRACES)
    prepared(project, warm, "test_t.py")
    before = sorted(tmp_path.rglob("*"))
    for n in range(3):
        # bubblewrap's, the one that forks, and the fork.
        report = forked(project, warm, "test_t.py", files={"value.py": f"N = {n}\nPROCESSES = 3\n"})
        assert report.results["test_t.py::test_first"].outcome is Outcome.PASSED, report
        leave = report.results["test_t.py::test_leave"]
        assert leave.outcome is (Outcome.PASSED if n == 0 else Outcome.FAILED), report
        assert leave.failure is None or leave.failure.output == "captured\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_what_outlives_processes_and_files_ends_the_process_that_forks(
    tmp_path: Path, warm: WarmProcesses
) -> None:
    shared = """
        import ctypes, pytest
        libc = ctypes.CDLL(None, use_errno=True)

        def test_shared():
            assert libc.shmget(4711, 4096, 0o1600) >= 0, "it was there"
    """
    project = Project(tmp_path, {"test_s.py": shared})
    prepared(project, warm, "test_s.py")
    for _ in range(3):
        assert forked(project, warm, "test_s.py").passed


def test_the_disk_is_seen_as_it_is_now(tmp_path: Path, warm: WarmProcesses) -> None:
    project = Project(
        tmp_path, {"value.py": "N = 0\n", "test_v.py": "import value\ndef test_v():\n    assert value.N\n"}
    )
    prepared(project, warm, "test_v.py")
    assert forked(project, warm, "test_v.py").failed
    for n, whole in enumerate([1, 0, 1, 0]):
        fresh = tmp_path / "value.py.new"
        fresh.write_text(f"N = {whole}\n")
        if n % 2:
            fresh.replace(tmp_path / "value.py")  # as editors save
        else:
            (tmp_path / "value.py").write_text(fresh.read_text())
        assert bool(forked(project, warm, "test_v.py").passed) is bool(whole)
    project.write("test_v.py", "def test_new(): pass\n")
    assert forked(project, warm, "test_v.py").passed == {"test_v.py::test_new"}
    project.write("added.py", "")
    project.write("test_v.py", "def test_added(): import added\n")
    assert forked(project, warm, "test_v.py").passed == {"test_v.py::test_added"}


def test_runs_that_follow_each_other_at_once_are_forked_and_have_nothing_of_each_other(
    tmp_path: Path, warm: WarmProcesses
) -> None:
    """What a run has written is dropped in the background: the next one waits for that, or does it."""
    writes = "import pathlib\n\ndef test_w():\n    assert not pathlib.Path('left').exists()\n    open('left', 'w')\n"
    project = Project(tmp_path, {"test_w.py": writes})
    prepared(project, warm, "test_w.py")
    forked(project, warm, "test_w.py")
    for _ in range(5):
        report = project.run("test_w.py", warm=warm)
        assert report.warm and report.passed


def test_a_child_that_was_forked_ahead_and_has_ended_costs_no_verdict(
    tmp_path: Path, warm: WarmProcesses
) -> None:
    """The kernel may end it for want of memory; the run then has a process of its own."""
    project = Project(tmp_path, {"test_t.py": "def test_t(): pass\n"})
    prepared(project, warm, "test_t.py")
    forked(project, warm, "test_t.py")
    [served] = (each for each, _ in warm._idle.values())
    deadline = time.monotonic() + 20
    while not (found := set(descendants(served.pid)) - served._own):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [ahead] = found
    os.kill(ahead, signal.SIGKILL)
    while ahead in descendants(served.pid):
        time.sleep(0.01)
    report = project.run("test_t.py", warm=warm)
    assert report.passed and report.stop is Stop.FINISHED and not report.warm
    warm.settle()
    assert forked(project, warm, "test_t.py").passed


def test_an_environment_below_tmp_can_be_forked(tmp_path: Path, warm: WarmProcesses) -> None:
    """Its `python` is a link in a folder that is shown as a whole."""
    assert tmp_path.is_relative_to("/tmp")
    venv.create(tmp_path / "env", symlinks=True, with_pip=False)
    [packages] = (tmp_path / "env").glob("lib/*/site-packages")
    (packages / "pytest.pth").write_text(sysconfig.get_path("purelib"))
    project = Project(tmp_path / "project", {"test_t.py": "def test_t(): pass\n"})
    python = {"interpreter": tmp_path / "env" / "bin" / "python"}
    assert project.run("test_t.py", warm=warm, readable=(Path(sys.prefix),), **python).passed
    warm.settle()
    assert forked(project, warm, "test_t.py", readable=(Path(sys.prefix),), **python).passed


@pytest.mark.parametrize("changed", ["conftest.py", "helper.py", "tests/conftest.py", "pytest.ini"])
def test_what_was_loaded_is_loaded_anew_when_it_changes(
    tmp_path: Path, warm: WarmProcesses, changed: str
) -> None:
    files = {
        "helper.py": "VALUE = 1\n",
        "conftest.py": "import helper, pytest\n\n@pytest.fixture\ndef value():\n    return helper.VALUE\n",
        "tests/test_v.py": "def test_v(value):\n    assert value == 1\n",
    }
    project = Project(tmp_path, files)
    prepared(project, warm, "tests/test_v.py")
    assert forked(project, warm, "tests/test_v.py").passed
    fixture = "import pytest\n\n@pytest.fixture\ndef value():\n    return 2\n"
    project.write(
        changed,
        {"helper.py": "VALUE = 2\n", "pytest.ini": "[pytest]\npython_functions = none_*\n"}.get(
            changed, fixture
        ),
    )
    prepared(project, warm, "tests/test_v.py")
    assert not forked(project, warm, "tests/test_v.py").passed


def test_a_text_laid_over_what_was_loaded_runs_in_a_process_of_its_own(
    tmp_path: Path, warm: WarmProcesses
) -> None:
    project = Project(
        tmp_path,
        {
            "calc.py": "N = 1\n",
            "conftest.py": "import calc\n",
            "test_c.py": "import calc\ndef test_c():\n    assert calc.N == 2\n",
        },
    )
    prepared(project, warm, "test_c.py")
    assert forked(project, warm, "test_c.py", files={"calc.py": "N = 1\n"}).failed
    report = project.run("test_c.py", files={"calc.py": "N = 2\n"}, warm=warm)
    assert report.passed
    assert not report.warm
    assert forked(project, warm, "test_c.py").failed


@pytest.mark.parametrize(
    ("conftest", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
            "threads",
        ),
        ("from pathlib import Path\nPath('made').write_text('x')\n", "writes files"),
        ("import tempfile\nfolder = tempfile.mkdtemp()\n", "writes files"),
        ("import subprocess\nsubprocess.Popen(['sleep', '60'])\n", "starts other programs"),
        ("import sys\nsys.exit(4)\n", "SystemExit: 4 before it collected"),
    ],
    ids=["threads", "workspace", "temporary", "programs", "exit"],
)
def test_where_a_fork_is_not_safe_runs_have_processes_of_their_own(
    tmp_path: Path, warm: WarmProcesses, conftest: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    project = Project(tmp_path, {"conftest.py": conftest, "test_c.py": "def test_c(): pass\n"})
    for _ in range(2):
        prepared(project, warm, "test_c.py")
    told = [record for record in caplog.records if "processes of their own" in record.message]
    assert len(told) == 1
    assert reason in told[0].message


def test_what_plugins_import_at_the_end_is_loaded_before_runs_are_forked(
    tmp_path: Path, warm: WarmProcesses
) -> None:
    """hypothesis' plugin imports all of it for its last word: ten times as long as a forked run takes otherwise."""
    test = "import sys\n\ndef test_h():\n    assert 'hypothesis' in sys.modules\n"
    project = Project(tmp_path, {"test_h.py": test})
    with_plugins: dict[str, Any] = {"test_args": ()}
    assert project.run("test_h.py", warm=warm, **with_plugins).failed
    warm.settle()
    assert forked(project, warm, "test_h.py", **with_plugins).passed


def test_what_the_tests_import_is_loaded_before_they_are_forked(tmp_path: Path, warm: WarmProcesses) -> None:
    test = "import sys\nbefore = 'xmlrpc.client' in sys.modules\n"
    test += "import xmlrpc.client, mine\n\ndef test_x():\n    assert before\n"
    project = Project(tmp_path, {"test_x.py": test, "mine.py": ""})
    assert only(project.run("test_x.py", warm=warm)).outcome is Outcome.FAILED
    warm.settle()
    assert only(forked(project, warm, "test_x.py")).outcome is Outcome.PASSED
    # The user's own modules are not.
    report = forked(project, warm, "test_x.py", files={"mine.py": "raise ValueError('read')\n"})
    assert "read" in report.collection_errors[0].failure.message


@pytest.mark.parametrize(
    "attack",
    [
        "os.kill(os.getppid(), signal.SIGKILL)",
        "os.kill(-1, signal.SIGKILL)",
        "os.kill(os.getppid(), signal.SIGSTOP); os._exit(0)",
        "os.kill(0, signal.SIGKILL)",
        "os._exit(0)",
    ],
    ids=["parent", "all", "stop", "group", "exit"],
)
def test_an_attack_on_the_process_that_forks_is_no_pass(
    tmp_path: Path, warm: WarmProcesses, attack: str
) -> None:
    test = "import candidate\n\ndef test_c():\n    candidate.attack()\n    assert 0\n"
    project = Project(tmp_path, {"candidate.py": "def attack(): pass\n", "test_c.py": test})
    prepared(project, warm, "test_c.py")
    candidate = f"import os, signal, time\n\ndef attack():\n    {attack}\n    time.sleep(60)\n"
    limits = Limits(wall_seconds=6, test_seconds=2)
    report = forked(project, warm, "test_c.py", files={"candidate.py": candidate}, limits=limits)
    assert only(report).outcome in (Outcome.CRASHED, Outcome.TIMEOUT, Outcome.FAILED)
    assert only(project.run("test_c.py", warm=warm)).outcome is Outcome.FAILED


def test_the_process_that_forks_cannot_be_reached(tmp_path: Path, warm: WarmProcesses) -> None:
    candidate = """
        import os

        def attack():
            found = []
            for each in (os.getppid(), 1):
                for name in ("mem", "maps", "environ", "auxv"):
                    path = "/proc/%d/%s" % (each, name)
                    try:
                        os.close(os.open(path, os.O_RDWR if name == "mem" else os.O_RDONLY))
                        found.append(path)
                    except OSError:
                        pass
                for name in ("root", "cwd", "fd/0", "fd/3", "fd/4", "fd/5", "fd/6"):
                    found += [name] if link("/proc/%d/%s" % (each, name)) else []
            found += [fd for fd in os.listdir("/proc/self/fd") if "socket" in link("/proc/self/fd/" + fd)]
            return found

        def link(path):
            try:
                return os.readlink(path)
            except OSError:
                return ""
    """
    project = Project(tmp_path, {"candidate.py": "def attack(): return []\n"})
    project.write("test_c.py", "import candidate\ndef test_c():\n    assert candidate.attack() == []\n")
    prepared(project, warm, "test_c.py")
    assert forked(project, warm, "test_c.py", files={"candidate.py": candidate}).passed


def test_limits_hold_in_forks(tmp_path: Path, warm: WarmProcesses) -> None:
    project = Project(tmp_path, {"candidate.py": "def work(): pass\n"})
    project.write("test_c.py", "import candidate\ndef test_c():\n    candidate.work()\n")
    prepared(project, warm, "test_c.py")

    def work(body: str, limits: Limits) -> Report:
        candidate = f"import os, time\n\ndef work():\n    {body}\n"
        return forked(project, warm, "test_c.py", files={"candidate.py": candidate}, limits=limits)

    assert only(work("time.sleep(60)", Limits(test_seconds=0.5))).outcome is Outcome.TIMEOUT
    assert work("while True: pass", Limits(cpu_seconds=1)).stop is Stop.CPU
    eats = work("x = bytearray(3 << 30)", Limits(memory_bytes=512 << 20))
    assert only(eats).failure is not None and only(eats).failure.message == "MemoryError"  # type: ignore[union-attr]
    many = "[os.fork() or time.sleep(60) for _ in range(60)]"
    assert only(work(many, Limits(processes=30))).outcome in (Outcome.CRASHED, Outcome.FAILED)
    fills = "[open('f%d' % n, 'wb').write(bytes(9 << 20)) and time.sleep(0.02) for n in range(99)]"
    assert work(fills, Limits(memory_bytes=200 << 20)).stop is Stop.MEMORY
    assert not work("pass", Limits()).failed


def test_a_run_can_be_cancelled(tmp_path: Path, warm: WarmProcesses) -> None:
    project = Project(
        tmp_path, {"test_c.py": "import time\ndef test_a(): pass\ndef test_b(): time.sleep(30)\n"}
    )
    prepared_by = threading.Event()
    assert project.run("test_c.py::test_a", warm=warm).passed
    warm.settle()
    report = project.run(
        "test_c.py", warm=warm, cancel=prepared_by, on_result=lambda result: prepared_by.set()
    )
    assert report.warm
    assert report.stop is Stop.CANCELLED
    assert forked(project, warm, "test_c.py::test_a").passed


def test_only_so_many_are_kept_and_unused_ones_end(tmp_path: Path) -> None:
    need_bubblewrap()
    warm = WarmProcesses(most=1, idle_seconds=0.3)
    own = psutil.Process()
    try:
        before = len(own.children(recursive=True))
        projects = [Project(tmp_path / name, {"test_c.py": "def test_c(): pass\n"}) for name in "ab"]
        for project in projects:
            prepared(project, warm, "test_c.py")
        warm.settle()
        # bubblewrap outside and inside, the process that forks, its child that waits, and the one that renews the overlay
        assert len(own.children(recursive=True)) - before <= 5
        deadline = time.monotonic() + 20
        while len(own.children(recursive=True)) > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        warm.close()


OWNER = """
import sys, threading, time
from pathlib import Path
from runner.run import TestRequest, run_tests
from runner.warm import WarmProcesses
warm = WarmProcesses()
run_tests(TestRequest(Path(sys.argv[1]), ("test_c.py",), Path(sys.executable)), threading.Event(), warm=warm)
warm.settle()
print("ready", flush=True)
if len(sys.argv) == 2:
    time.sleep(60)
"""


@pytest.mark.parametrize("way", ["killed", "ended"])
def test_they_die_with_their_owner(tmp_path: Path, way: str) -> None:
    need_bubblewrap()
    Project(tmp_path, {"test_c.py": "def test_c(): pass\n"})
    command = [sys.executable, "-c", OWNER, str(tmp_path), *(["end"] if way == "ended" else [])]
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)
    assert owner.stdout is not None
    watched = psutil.Process(owner.pid)
    assert owner.stdout.readline() == b"ready\n"
    children = watched.children(recursive=True) if way == "killed" else []
    if way == "killed":
        assert len(children) >= 4
        os.kill(owner.pid, signal.SIGKILL)
    owner.wait(timeout=30)
    owner.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def flips(project: Project, warm: WarmProcesses, test: str, *, laid: str = "") -> list[Outcome]:
    """The outcomes of the project's one test: in a process of its own, then in two forks, where it can be forked."""
    files = {"candidate.py": laid} if laid else {}
    project.write("test_f.py", test)
    found = [only(project.run("test_f.py", files=files, warm=warm)).outcome]
    warm.settle()
    for _ in range(2):
        found.append(only(project.run("test_f.py", files=files, warm=warm)).outcome)
        warm.settle()
    return found


HONEST = {
    "a conftest that logs": (
        "import logging\nlogging.basicConfig(level=logging.INFO)\n",
        "import logging\ndef test_f(capsys):\n    logging.info('x')\n    assert '---' not in capsys.readouterr().err\n",
    ),
    "a file in the home folder": (
        "from pathlib import Path\nPath.home().joinpath('.rc').write_text('x')\n",
        "from pathlib import Path\ndef test_f():\n    assert Path.home().joinpath('.rc').exists()\n",
    ),
    "shared memory": (
        "import multiprocessing\nSHARED = multiprocessing.Value('i', 0)\n",
        "import conftest\ndef test_f():\n    conftest.SHARED.value += 1\n    assert conftest.SHARED.value == 1\n",
    ),
    "an open file": (
        "file = open('conftest.py')\n",
        "import conftest\ndef test_f():\n    assert conftest.file.read()\n",
    ),
    "a fixed port": (
        "",
        """
        import socket
        def test_f():
            with socket.socket() as server:
                server.bind(("127.0.0.1", 8123))
                server.listen()
                with socket.create_connection(("127.0.0.1", 8123)) as client:
                    server.accept()[0].close()
                    assert client.recv(1) == b""
        """,
    ),
    "an import's warning": (
        "",
        """
        import sys, warnings, pytest
        def test_f():
            assert "xmlrpc.client" not in sys.modules
            import xmlrpc.client
        """,
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_passes_in_a_process_of_its_own_passes_in_forks(
    tmp_path: Path, warm: WarmProcesses, name: str
) -> None:
    conftest, test = HONEST[name]
    project = Project(tmp_path, {"conftest.py": conftest})
    assert flips(project, warm, test) == [Outcome.PASSED] * 3


@pytest.mark.parametrize(
    "attack",
    [
        "resource.prlimit(os.getppid(), resource.RLIMIT_DATA, (300 << 20, 300 << 20))",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (20, 20))",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.sched_setaffinity(os.getppid(), {min(os.sched_getaffinity(0))})",
    ],
)
def test_limits_set_to_the_process_that_forks_end_it(
    tmp_path: Path, warm: WarmProcesses, attack: str
) -> None:
    project = Project(tmp_path, {"candidate.py": "def attack(): pass\n"})
    project.write("test_c.py", "import candidate\ndef test_c():\n    candidate.attack()\n")
    prepared(project, warm, "test_c.py")
    candidate = f"import os, resource\n\ndef attack():\n    {attack}\n"
    forked(project, warm, "test_c.py", files={"candidate.py": candidate})
    check = "import os, resource\n\ndef attack():\n"
    check += "    assert resource.getrlimit(resource.RLIMIT_DATA)[1] > 1 << 30\n"
    check += "    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20\n"
    check += "    assert os.getpriority(os.PRIO_PROCESS, 0) == 0\n"
    check += f"    assert len(os.sched_getaffinity(0)) == {len(os.sched_getaffinity(0))}\n"
    for _ in range(2):
        assert project.run("test_c.py", files={"candidate.py": check}, warm=warm).passed
        warm.settle()


def test_what_was_read_elsewhere_is_read_anew(
    tmp_path: Path, warm: WarmProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "sibling.py").write_text("N = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(beside))
    interpreter._describe.cache_clear()  # it knows the import path of before
    conftest = "import json\nfrom pathlib import Path\nDATA = json.loads(Path('data.json').read_text())\n"
    test = "import conftest, sibling\ndef test_s():\n    assert (sibling.N, conftest.DATA) == (1, 1)\n"
    files = {"conftest.py": conftest, "data.json": "1", "test_s.py": test}
    project = Project(tmp_path / "work", files)
    prepared(project, warm, "test_s.py")
    assert forked(project, warm, "test_s.py").passed
    (beside / "sibling.py").write_text("N = 22\n")
    assert project.run("test_s.py", warm=warm).failed
    (beside / "sibling.py").write_text("N = 1\n")
    warm.settle()
    assert project.run("test_s.py", warm=warm).passed
    project.write("data.json", "22")
    assert project.run("test_s.py", warm=warm).failed
    project.write("data.json", "1")
    warm.settle()
    # Another folder in its place, with nothing in it that pytest reads first.
    (project.root / "conftest.py").unlink()
    project.write(
        "test_s.py", "import sibling\ndef test_s():\n    assert not __import__('os').path.exists('new')\n"
    )
    assert project.run("test_s.py", warm=warm).passed
    warm.settle()
    shutil.move(project.root, tmp_path / "old")
    shutil.copytree(tmp_path / "old", project.root)
    project.write("new", "")
    assert project.run("test_s.py", warm=warm).failed
    interpreter._describe.cache_clear()


def test_a_run_cancelled_before_it_begins_leaves_nothing(tmp_path: Path, warm: WarmProcesses) -> None:
    test = "import subprocess, time\ndef test_c():\n    subprocess.Popen(['sleep', '77'], start_new_session=True)\n"
    project = Project(tmp_path, {"test_c.py": test})
    prepared(project, warm, "test_c.py")
    cancel = threading.Event()
    cancel.set()
    for _ in range(5):
        assert project.run("test_c.py", warm=warm, cancel=cancel).stop is Stop.CANCELLED
        own = psutil.Process().children(recursive=True)
        assert not [each for each in own if each.name() == "sleep"]
        warm.settle()


STRAY = """
    import ctypes, os, signal, subprocess, time

    def named():
        ctypes.CDLL(None).prctl(15, b"stray")

    def started():
        subprocess.Popen(["sleep", "77"])

    def forked():
        if os.fork() == 0:
            named()
            time.sleep(77)

    def orphaned():
        if os.fork() == 0:
            forked()
            os._exit(0)
        os.wait()

    def closed():
        # It says nothing any more, and nothing in it ends it.
        named()
        os.closerange(3, 999)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        while True:
            pass
"""


def strays() -> list[str]:
    below = psutil.Process().children(recursive=True)
    return [name for name in (each.name() for each in below) if name in ("sleep", "stray")]


@pytest.mark.parametrize("way", ["started", "forked", "orphaned"])
def test_what_a_run_has_started_is_gone_when_it_has_ended(
    tmp_path: Path, warm: WarmProcesses, way: str
) -> None:
    """The process of the run itself may take a moment longer, for it does nothing any more."""
    test = f"from stray import *\n\ndef test_c():\n    {way}()\n"
    project = Project(tmp_path, {"stray.py": STRAY, "test_c.py": test})
    prepared(project, warm, "test_c.py")
    for _ in range(5):
        report = project.run("test_c.py", warm=warm)
        assert not strays()
        assert report.warm and report.passed
        warm.settle()


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_run_that_closes_its_report_and_goes_on_is_killed(
    tmp_path: Path, warm: WarmProcesses, cancelled: bool
) -> None:
    project = Project(tmp_path, {"stray.py": STRAY, "test_c.py": "def test_c(): pass\n"})
    prepared(project, warm, "test_c.py")
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set if cancelled else lambda: None).start()
    files = {"test_c.py": "from stray import *\n\ndef test_c():\n    closed()\n"}
    limits = Limits(wall_seconds=60 if cancelled else 1)
    report = project.run("test_c.py", warm=warm, files=files, limits=limits, cancel=cancel)
    assert not strays()
    assert report.warm and not report.passed
    assert report.stop is (Stop.CANCELLED if cancelled else Stop.WALL_CLOCK)
