"""How long the language server takes from process start to its answer to `initialize`, and to its first code action.

The peer is the same process loading the LSP library before it answers, which is what a server without our early
answer does. Run: python benchmarks/startup.py [RUNS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

SERVER = [sys.executable, "-m", "lsp_server.server"]
PEER = [
    sys.executable,
    "-c",
    "import sys; from lsp_server.server import create_server; create_server().start_io()",
]
GOAL_SECONDS = 0.5
CODE = "def stub(): ...\n"


def message(**content: object) -> bytes:
    """Return a message as it goes over the wire."""
    body = json.dumps({"jsonrpc": "2.0", **content}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def answer(process: subprocess.Popen[bytes], identifier: int) -> None:
    """Read until the response with this id."""
    assert process.stdout is not None
    while True:
        length = 0
        while (line := process.stdout.readline()) != b"\r\n":
            if not line:
                raise SystemExit("the server has ended before it answered")
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if json.loads(process.stdout.read(length)).get("id") == identifier:
            return


def once(command: list[str]) -> tuple[float, float]:
    """Return the seconds from process start to the answers to `initialize` and to a first code action."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(message(id=1, method="initialize", params={"processId": None, "capabilities": {}}))
    process.stdin.flush()
    answer(process, 1)
    initialized = time.perf_counter() - started
    document = {"uri": "file:///stub.py", "languageId": "python", "version": 1, "text": CODE}
    process.stdin.write(message(method="initialized", params={}))
    process.stdin.write(message(method="textDocument/didOpen", params={"textDocument": document}))
    place = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
    asked = {"textDocument": {"uri": "file:///stub.py"}, "range": place, "context": {"diagnostics": []}}
    process.stdin.write(message(id=2, method="textDocument/codeAction", params=asked))
    process.stdin.flush()
    answer(process, 2)
    acted = time.perf_counter() - started
    process.stdin.write(message(id=3, method="shutdown") + message(method="exit"))
    process.stdin.flush()
    process.wait()
    return initialized, acted


def main() -> None:
    """Measure both, alternating, and print the medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    times: dict[str, list[tuple[float, float]]] = {"early answer": [], "library first": []}
    for _ in range(runs):
        times["early answer"].append(once(SERVER))
        times["library first"].append(once(PEER))
    print(f"seconds from process start, {runs} runs; goal for initialize: {GOAL_SECONDS}")
    print(f"{'':15} {'initialize':>24} {'first code action':>24}")
    for name, measured in times.items():
        columns = [[m[n] for m in measured] for n in (0, 1)]
        cells = [f"{statistics.median(c):.3f} (worst {max(c):.3f})" for c in columns]
        print(f"{name:15} {cells[0]:>24} {cells[1]:>24}")
    ratio = statistics.median(m[0] for m in times["early answer"]) / statistics.median(
        m[0] for m in times["library first"]
    )
    print(f"initialize, early answer : library first = {ratio:.2f}")


if __name__ == "__main__":
    main()
