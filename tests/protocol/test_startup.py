"""Starting: `initialize` has its answer before the LSP library is loaded, and nothing heavy is ever loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pytest_lsp import client_capabilities

from lsp_server.features.handshake import initialize_result
from lsp_server.server import create_server
from tests.protocol.editor import SERVER, Editor

HEAVY = (
    "torch",
    "transformers",
    "onnxruntime",
    "onnxruntime_genai",
    "huggingface_hub",
    "numpy",
    "jinja2",
    "tokenizers",
)


def message(**content: Any) -> bytes:
    """Return a message as it goes over the wire."""
    body = json.dumps({"jsonrpc": "2.0", **content}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read one message."""
    assert process.stdout is not None
    length = 0
    while (line := process.stdout.readline()) != b"\r\n":
        assert line, "the server has ended"
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    answer: dict[str, Any] = json.loads(process.stdout.read(length))
    return answer


def test_initialize_is_answered_once_and_the_rest_works(project: Path) -> None:
    started = time.perf_counter()
    process = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    parameters = {"processId": None, "rootUri": project.as_uri(), "capabilities": {}}
    process.stdin.write(message(id=1, method="initialize", params=parameters))
    process.stdin.flush()
    answer = receive(process)
    print(f"initialize answered {time.perf_counter() - started:.3f} s after the process was started")
    assert answer["id"] == 1
    assert answer["result"]["serverInfo"]["name"] == "OCI Companion"
    process.stdin.write(message(method="initialized", params={}))
    process.stdin.write(message(id=2, method="shutdown"))
    process.stdin.write(message(method="exit"))
    process.stdin.flush()
    assert receive(process)["id"] == 2, "the first request was answered twice"
    assert process.wait(10) == 0


def test_the_first_message_may_be_anything() -> None:
    given = message(id=7, method="no/such", params={}) + message(method="exit")
    process = subprocess.run(SERVER, input=given, capture_output=True, timeout=20)
    assert process.returncode == 1
    assert b"Method Not Found" in process.stdout


@pytest.mark.parametrize("client", ["visual-studio-code", "neovim", "emacs"])
@pytest.mark.parametrize("encodings", [None, ["utf-8"], ["utf-16", "utf-8"], ["utf-32", "utf-16"]])
def test_the_early_answer_is_the_librarys(client: str, encodings: list[str] | None) -> None:
    capabilities = client_capabilities(client)
    capabilities.general = types.GeneralClientCapabilities(
        position_encodings=[types.PositionEncodingKind(e) for e in encodings] if encodings else None
    )
    parameters = types.InitializeParams(capabilities=capabilities)
    server = create_server()
    handler = server.protocol.lsp_initialize(parameters)
    next(handler)
    with pytest.raises(StopIteration) as stopped:
        handler.send(None)
    protocol = server.protocol
    expected, given = (
        json.loads(json.dumps(v, default=protocol._serialize_message))
        for v in (stopped.value.value, parameters)
    )
    assert initialize_result(given) == expected


async def test_nothing_heavy_is_loaded(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    # What a process has mapped tells what it has imported, without any hook in it.
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.edits)
    assert editor._server is not None
    mapped = Path(f"/proc/{editor._server.pid}/maps").read_text()
    assert "python" in mapped
    assert not [name for name in HEAVY if f"/site-packages/{name}/" in mapped]


def test_the_imports_are_light() -> None:
    code = (
        "import sys; from lsp_server.server import create_server; before = 'pygls' in sys.modules; create_server();"
        "import lsp_server.features.work, lsp_server.refine.loop, lsp_server.engine.client, lsp_server.engine.supervise;"
        f"print(before, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"
