"""How long does an editor wait for code actions, lenses and hovers, while the model writes and tests run?

A real server process is asked about a file of 5,000 lines, again and again, as the cursor moves; meanwhile the model
works on a repair, and tests run without end. Every so often something is typed, and the next questions are about the new
text: those that follow an edit directly are counted by themselves too.

    python benchmarks/answers.py [--requests 600] [--lines 5000] [--typed-every 20] [--quiet]

`--quiet` leaves out the model and the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

FUNCTION = '''\
def function{n}(values, limit={n}):
    """Return the sum of the values up to a limit."""
    total = 0
    for value in values:
        if value > limit:
            break
        total += value * {n}
    return total


'''
WRONG = "def add(a, b):\n    return a - b\n"
TEST = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
BUSY = "def test_busy():\n    for _ in range(10**9):\n        pass\n"


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--typed-every", type=int, default=20)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors before the start")
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(measure(Path(made).resolve(), options))
    return 0


async def measure(folder: Path, options: argparse.Namespace) -> None:
    """Ask again and again, and print how long it took."""
    count = options.lines // FUNCTION.count("\n")
    text = "".join(FUNCTION.format(n=n) for n in range(count))
    for name, content in (("calc.py", WRONG), ("test_calc.py", TEST), ("test_busy.py", BUSY)):
        (folder / name).write_text(content)
    (folder / "long.py").write_text(text)
    client = await start(folder)
    long = open_(client, folder / "long.py")
    calc, busy = open_(client, folder / "calc.py"), open_(client, folder / "test_busy.py")
    working = None
    if not options.quiet:
        working = asyncio.ensure_future(keep_busy(client, calc, busy))
        await asyncio.sleep(20)  # until the model is loaded and writes
    waits: dict[str, list[float]] = {}
    version = 1
    for number in range(options.requests):
        after_edit = number % options.typed_every == 0
        if after_edit:
            version += 1
            text = text.replace("total = 0", f"total = {number} + 0", 1)
            change = types.TextDocumentContentChangeWholeDocument(text)
            identifier = types.VersionedTextDocumentIdentifier(version, long)
            client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [change]))
        position = types.Position((number * 37) % options.lines, 0)
        for name, ask in questions(client, long, position):
            began = time.perf_counter()
            await ask
            waits.setdefault(name, []).append(time.perf_counter() - began)
            if after_edit:
                waits.setdefault(f"{name}, right after an edit", []).append(waits[name][-1])
        await asyncio.sleep(0.02)
    for name, seconds in waits.items():
        seconds.sort()
        p50, p99 = seconds[len(seconds) // 2], seconds[int(0.99 * len(seconds))]
        print(f"{name}: {len(seconds)}; p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms", flush=True)
    if working is not None:
        working.cancel()
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


def questions(client: LanguageClient, uri: str, at: types.Position) -> list[tuple[str, Any]]:
    """Return what an editor asks as the cursor moves."""
    identifier = types.TextDocumentIdentifier(uri)
    context = types.CodeActionContext([])
    return [
        (
            "codeAction",
            client.text_document_code_action_async(
                types.CodeActionParams(identifier, types.Range(at, at), context)
            ),
        ),
        ("codeLens", client.text_document_code_lens_async(types.CodeLensParams(identifier))),
        ("hover", client.text_document_hover_async(types.HoverParams(identifier, at))),
    ]


async def keep_busy(client: LanguageClient, calc: str, busy: str) -> None:
    """Have the model write, and tests run, until cancelled."""
    while True:
        await run(client, "oci.fix", uri=calc, instruction="Explain each step at length before the code.")
        for _ in range(3):
            await run(client, "oci.runTests", uri=busy)
            await asyncio.sleep(4)


async def run(client: LanguageClient, command: str, **argument: Any) -> None:
    """Run a command of the server's."""
    await client.workspace_execute_command_async(types.ExecuteCommandParams(command, [argument]))


async def start(folder: Path) -> LanguageClient:
    """Return a client of a server for a folder."""
    client = LanguageClient("benchmark", "1")
    for method in (
        types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS,
        types.WINDOW_LOG_MESSAGE,
        types.WINDOW_SHOW_MESSAGE,
        types.WORKSPACE_CODE_LENS_REFRESH,
    ):
        client.feature(method)(lambda params: None)
    client.feature(types.WORKSPACE_APPLY_EDIT)(lambda params: types.ApplyWorkspaceEditResult(applied=False))
    await client.start_io(sys.executable, "-m", "lsp_server.server")
    settings = {"interpreter": sys.executable, "testTimeout": 60, "candidates": 5, "rounds": 10}
    await client.initialize_async(
        types.InitializeParams(
            capabilities=types.ClientCapabilities(),
            initialization_options={"oci": settings},
            workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
        )
    )
    client.initialized(types.InitializedParams())
    return client


def open_(client: LanguageClient, path: Path) -> str:
    """Open a file; return its uri."""
    item = types.TextDocumentItem(path.as_uri(), "python", 1, path.read_text())
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    return path.as_uri()


if __name__ == "__main__":
    sys.exit(main())
