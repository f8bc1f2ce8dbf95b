"""How long does it take from a save in the editor until its diagnostics are there?

A real server process is driven as an editor drives it: a file is changed so that a test fails, and saved; then changed
back, and saved; and so on. In turn with each save stands a cold `python -m pytest` of the same tests. Also printed: what
the server takes while nothing happens.

    python benchmarks/save.py [--saves 40] [--library FOLDER [--edit FILE OLD NEW]] [--keyword ...]

`--library` is an unpacked source distribution, in which `--edit` puts one text in another's place and makes a test fail,
more-itertools 11.2.1 where nothing else is said; pytest then runs its whole suite.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from lsprotocol import types
from pygls.lsp.client import LanguageClient

TRIVIAL = {
    "calc.py": "def add(a, b):\n    return a + b\n",
    "test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}
MORE_ITERTOOLS = ("more_itertools/recipes.py", "islice(iterable, n))", "islice(iterable, n + 1))")
IDLE_SECONDS = 10.0


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--saves", type=int, default=40)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--edit", nargs=3, default=MORE_ITERTOOLS, metavar=("FILE", "OLD", "NEW"))
    parser.add_argument("--keyword", default="", help="pytest's -k, for both")
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve() / "trivial"
        folder.mkdir()
        for name, text in TRIVIAL.items():
            (folder / name).write_text(text)
        edit = (folder / "calc.py", "a + b", "a - b")
        asyncio.run(measure("trivial project", folder, edit, options, cold=options.saves))
        if options.library:
            folder = Path(made).resolve() / options.library.name
            shutil.copytree(options.library, folder)
            edit = (folder / options.edit[0], options.edit[1], options.edit[2])
            assert edit[1] in edit[0].read_text(), "another version of the library"
            asyncio.run(measure(options.library.name, folder, edit, options, cold=3))
    return 0


async def measure(
    title: str, folder: Path, edit: tuple[Path, str, str], options: argparse.Namespace, cold: int
) -> None:
    """Save again and again, and print how long it took."""
    file, right, wrong = edit
    client = LanguageClient("benchmark", "1")
    latest: dict[str, list[types.Diagnostic]] = {}

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def shown(params: types.PublishDiagnosticsParams) -> None:
        latest[params.uri] = list(params.diagnostics)

    @client.feature(types.WINDOW_LOG_MESSAGE)
    def logged(params: types.LogMessageParams) -> None:
        pass

    await client.start_io(sys.executable, "-m", "lsp_server.server")
    arguments = ["-k", options.keyword] if options.keyword else []
    settings = {"interpreter": str(options.interpreter), "testArgs": arguments, "runTimeout": 600}
    await client.initialize_async(
        types.InitializeParams(
            capabilities=types.ClientCapabilities(),
            initialization_options={"oci": settings},
            workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
        )
    )
    client.initialized(types.InitializedParams())
    text = file.read_text()
    uri, version = file.as_uri(), 1
    client.text_document_did_open(
        types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "python", version, text))
    )

    async def save(failing: bool) -> float:
        nonlocal version
        version += 1
        now = text.replace(right, wrong) if failing else text
        file.write_text(now)
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(version, uri),
                [types.TextDocumentContentChangeWholeDocument(now)],
            )
        )
        began = time.perf_counter()
        client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))
        while any(latest.values()) != failing:
            if time.perf_counter() - began > 600:
                raise SystemExit("no diagnostics came")
            await asyncio.sleep(0.001)
        return time.perf_counter() - began

    first = await save(True)
    await save(False)
    await asyncio.sleep(3)
    ours, theirs = [], []
    for n in range(options.saves):
        ours.append(await save(n % 2 == 0))
        if n < cold:
            began = time.perf_counter()
            command = [options.interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
            subprocess.run(command, cwd=folder, capture_output=True, check=False)
            theirs.append(time.perf_counter() - began)
        else:
            await asyncio.sleep(1)
    ours.sort()
    p50, p95 = statistics.median(ours), ours[int(0.95 * len(ours))]
    peer = statistics.median(theirs)
    print(
        f"{title}: {options.saves} saves, first {first:.2f} s; p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms; "
        f"cold pytest p50 {peer * 1000:.0f} ms (x {peer / p50:.1f})",
        flush=True,
    )
    assert client._server is not None
    process = psutil.Process(client._server.pid)
    family = [process, *process.children(recursive=True)]
    before = sum(sum(each.cpu_times()[:2]) for each in family)
    await asyncio.sleep(IDLE_SECONDS)
    used = sum(sum(each.cpu_times()[:2]) for each in family) - before
    server, others = process.memory_info().rss, sum(each.memory_info().rss for each in family[1:])
    print(
        f"  idle: {used / IDLE_SECONDS:.2%} of a processor; server {server >> 20} MB, "
        f"{len(family) - 1} processes for tests {others >> 20} MB"
    )
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


if __name__ == "__main__":
    sys.exit(main())
