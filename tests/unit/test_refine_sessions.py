"""Proposals that are kept, and what is collected of them with consent."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from lsp_server import cli
from lsp_server.models import store
from lsp_server.refine import collection, sessions
from lsp_server.refine.loop import Options, refine
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.sessions import Sessions, SessionsError
from lsp_server.refine.task import FixRequest, Snapshot
from tests.unit.scripted import ScriptedEngine, fenced

CALC = "def add(a, b):\n    return a - b\n"
TEST = "from calc import add\n\ndef test_add():\n    assert add(2, 3) == 5\n"
OFF = tuple(a for p in ("hypothesispytest", "asyncio", "pytest-lsp", "anyio") for a in ("-p", f"no:{p}"))


@pytest.fixture(scope="module")
def proposal(tmp_path_factory: pytest.TempPathFactory) -> Proposal:
    """A real one, in two rounds."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "calc.py").write_text(CALC)
    (folder / "test_calc.py").write_text(TEST)
    engine = ScriptedEngine(
        fenced("def add(a, b):\n    return a * b"), fenced("def add(a, b):\n    return a + b")
    )
    request = FixRequest(Snapshot(folder), PurePosixPath("test_calc.py"))
    options = Options(Path(sys.executable), test_args=OFF)
    return refine(request, engine, options, threading.Event(), lambda event: None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def kept(proposal: Proposal) -> Sessions:
    """The sessions of its workspace."""
    return Sessions(proposal.task.snapshot.workspace)


def test_a_proposal_is_the_same_after_it_was_kept(proposal: Proposal, kept: Sessions) -> None:
    kept.put("one", proposal)
    back = kept.proposal("one")
    assert back is not None
    assert (back.new_text, back.receipt, back.task.wanted) == (
        proposal.new_text,
        proposal.receipt,
        proposal.task.wanted,
    )
    assert [each.verdict for each in back.rounds] == [each.verdict for each in proposal.rounds]
    assert back.best is not None and proposal.best is not None
    assert back.best.asked == proposal.best.asked
    assert back.baseline.failed == proposal.baseline.failed
    assert kept.proposal("two") is None


def test_they_are_listed_by_decision_the_latest_first(proposal: Proposal, kept: Sessions) -> None:
    assert kept.list() == []
    kept.put("one", proposal)
    kept.put("two", proposal)
    kept.decide("one", "applied")
    assert [(each.id, each.decision) for each in kept.list()] == [("two", "waiting"), ("one", "applied")]
    assert [each.id for each in kept.list("waiting")] == ["two"]
    assert (kept.list()[0].path, kept.list()[0].target, kept.list()[0].verdict) == (
        "calc.py",
        "add",
        "verified",
    )
    assert sessions.workspaces() == [proposal.task.snapshot.workspace]
    kept.purge()
    assert kept.list() == [] and sessions.workspaces() == []


def test_what_is_decided_goes_before_what_waits(
    proposal: Proposal, kept: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    for name in ("waits", "applied", "discarded"):
        kept.put(name, proposal)
    kept.decide("applied", "applied")
    kept.decide("discarded", "discarded")
    kept.put("new", proposal)
    assert {each.id for each in kept.list()} == {"waits", "discarded", "new"}
    monkeypatch.setattr(sessions, "MOST_BYTES", 1)
    kept.put("newest", proposal)
    assert [each.id for each in kept.list()] == ["newest"]


def test_several_windows_may_write_at_once(proposal: Proposal, kept: Sessions) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: Sessions(kept.workspace).put(str(number), proposal), range(40)))
    assert len(kept.list()) == 40
    assert sessions.workspaces() == [kept.workspace]


def test_only_the_user_may_read_them(proposal: Proposal, kept: Sessions) -> None:
    kept.put("one", proposal)
    assert kept.file.stat().st_mode & 0o077 == 0
    assert kept.file.parent.stat().st_mode & 0o077 == 0


def test_a_damaged_file_says_so(proposal: Proposal, kept: Sessions) -> None:
    kept.put("one", proposal)
    with sqlite3.connect(kept.file) as database:
        database.execute("UPDATE session SET proposal = '{}'")
    with pytest.raises(SessionsError, match="damaged"):
        kept.proposal("one")
    kept.file.write_bytes(b"nothing that SQLite knows" * 100)
    with pytest.raises(SessionsError, match="delete the file"):
        kept.list()


def test_what_is_collected_has_code_feedback_s_form(proposal: Proposal) -> None:
    collection.collect(proposal, "applied")
    collection.collect(proposal, "discarded")
    lines = [json.loads(line) for line in collection.collected()]
    assert [line["decision"] for line in lines] == ["applied", "discarded"]
    messages = lines[0]["messages"]
    assert isinstance(lines[0]["id"], int)
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[2]["content"].startswith("Execution result: \n")
    assert "return a + b" in messages[3]["content"]
    assert collection.purge() == 2
    assert list(collection.collected()) == []


SECRETS = (
    "AKIAIOSFODNN7EXAMPLE",
    "hunter2hunter2",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "bob:letmein",
    "bob.smith@corp.com",
    "MIIEowIBAAKCAQEA",
    "c2VjcmV0IGtleSB0aGF0IGlzIGxvbmcgZW5vdWdoIQ==",
    "bob",
    "glpat-abcdefgh12345678",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl",
    "c2lnbmF0dXJl",
    "s3cr3tpassw0rd1",
    "p@ss",
    "acme",
    "John Smith",
    "Users\\bob",
)
TOLD = """
aws = "AKIAIOSFODNN7EXAMPLE"
password = "hunter2hunter2"
TOKEN = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789'
url = "https://bob:letmein@host/x"
# ask bob.smith@corp.com
key = "c2VjcmV0IGtleSB0aGF0IGlzIGxvbmcgZW5vdWdoIQ=="
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEA
-----END RSA PRIVATE KEY-----
File /home/bob/work/prices.py:3, in net
File C:\\Users\\bob\\work\\prices.py:3, in net
File /srv/project/prices.py:3, in net
export API_KEY=s3cr3tpassw0rd1
curl -H "Authorization: Bearer glpat-abcdefgh12345678"
session = eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl
redis://:p@ss@cache/0
/home/bob said so; see /mnt/clients/acme/prices.py:3, in net
File "C:\\Users\\John Smith\\proj\\x.py"
/srv/project2/prices.py
def net(price: float) -> float:
    return price * 0.8
"""


def test_secrets_and_paths_are_taken_out_and_the_code_stays() -> None:
    text = collection.scrub(TOLD, Path("/srv/project"))
    assert [secret for secret in SECRETS if secret in text] == []
    assert "File /workspace/prices.py:3, in net" in text
    assert text.count("/path/to/prices.py:3, in net") == 3
    assert "/path/to/prices.py\n" in text and "workspace2" not in text
    assert "def net(price: float) -> float:\n    return price * 0.8\n" in text


def test_the_user_s_home_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/data/people/ann"))
    text = collection.scrub("File /data/people/ann/x.py", Path("/srv/project"))
    assert "ann" not in text


def test_a_proposal_without_code_is_not_collected(proposal: Proposal) -> None:
    collection.collect(replace(proposal, new_text=None), "discarded")
    assert list(collection.collected()) == []


def test_the_command_line_lists_shows_and_compares(
    proposal: Proposal, kept: Sessions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sessions", "list"]) == 0
    assert "nothing yet" in capsys.readouterr().out
    kept.put("first-of-all", proposal)
    kept.put("second", replace(proposal, new_text=CALC.replace("a - b", "b + a")))
    assert cli.main(["sessions", "list", "--workspace", str(kept.workspace)]) == 0
    said = capsys.readouterr().out
    assert "first-of" in said and "calc.py" in said and "waiting" in said
    assert cli.main(["sessions", "show", "first"]) == 0
    said = capsys.readouterr().out
    assert "Round 2: verified" in said and "+    return a + b" in said and "Receipt" in said
    assert cli.main(["sessions", "compare", "first", "second"]) == 0
    said = capsys.readouterr().out
    assert "-    return a + b\n+    return b + a\n" in said
    assert cli.main(["sessions", "show", "third"]) == 2
    assert "sessions list" in capsys.readouterr().err


def test_the_command_line_exports_and_purges(
    proposal: Proposal, kept: Sessions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.put("one", proposal)
    collection.collect(proposal, "applied")
    collection.collect(proposal, "discarded")
    file = tmp_path / "out.jsonl"
    assert cli.main(["sessions", "export", "--output", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 2
    capsys.readouterr()
    assert cli.main(["sessions", "export", "--applied"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["decision"] == "applied"
    assert cli.main(["sessions", "purge"]) == 0
    assert len(kept.list()) == 1
    assert cli.main(["sessions", "purge", "--all"]) == 0
    assert "All proposals deleted" in capsys.readouterr().out
    assert kept.list() == []


def test_a_line_that_was_broken_off_harms_no_other(proposal: Proposal, home: Path) -> None:
    collection.collect(proposal, "applied")
    (file,) = (home / "code-feedback").glob("*.jsonl")
    with file.open("a") as out:
        out.write('{"id": 1, "mess')
    odd = replace(proposal.rounds[-1], reply="a\u2028b\x85c \ud800")
    collection.collect(replace(proposal, rounds=(odd,)), "discarded")
    lines = [json.loads(line) for line in collection.collected()]
    assert [line["decision"] for line in lines] == ["applied", "discarded"]
    assert lines[1]["messages"][-1]["content"] == odd.reply


def test_a_session_that_is_too_large_is_no_reason_to_drop_the_others(
    proposal: Proposal, kept: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.put("one", proposal)
    size = kept.file.stat().st_size
    noise = "".join(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(size // 16))
    monkeypatch.setattr(sessions, "MOST_BYTES", size)
    kept.put("large", replace(proposal, new_text=noise))
    kept.put("two", proposal)
    assert [each.id for each in kept.list()] == ["two", "one"]


def test_all_are_purged_readable_or_not(proposal: Proposal, kept: Sessions) -> None:
    kept.put("one", proposal)
    kept.file.write_bytes(b"nothing that SQLite knows" * 100)
    sessions.purge_all()
    assert list(kept.file.parent.iterdir()) == []
