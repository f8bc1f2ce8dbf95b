"""Answer `initialize` before the LSP library is loaded.

lsprotocol generates its 554 message classes when it is imported, which alone takes longer than an editor should wait
for a server to come up. So the first message is read and answered here with the standard library only; then the
library is loaded, is given the same message, and its own answer, which is equal, is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from lsp_server import __version__

NAME = "OCI Companion"
COMMANDS = (
    "oci.generate",
    "oci.fix",
    "oci.fixTest",
    "oci.fixDiagnostic",
    "oci.runTests",
    "oci.cancel",
    "oci.applyProposal",
    "oci.acceptProposal",
    "oci.discardProposal",
    "oci.fitProposal",
    "oci.watch",
    "oci.refineProposal",
    "oci.explainProposal",
    "oci.proposals",
    "oci.openProposal",
)
CODE_ACTION_KINDS = ("quickfix", "refactor.rewrite")
ENCODINGS = ("utf-8", "utf-16", "utf-32")
"""Position encodings that are spoken: the client's first choice among them, UTF-16 if it says nothing."""
SAVING = {"willSave": False, "willSaveWaitUntil": False, "save": True}


def initialize_result(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to `initialize`.

    Args:
        params: the request's parameters.
    """
    offered = _at(params, "capabilities", "general", "positionEncodings") or ()
    return {
        "capabilities": {
            "positionEncoding": next((e for e in offered if e in ENCODINGS), "utf-16"),
            "textDocumentSync": {"openClose": True, "change": 1, **SAVING},
            "hoverProvider": True,
            "codeActionProvider": {"codeActionKinds": list(CODE_ACTION_KINDS), "resolveProvider": False},
            "codeLensProvider": {"resolveProvider": False},
            "executeCommandProvider": {"commands": list(COMMANDS)},
            "workspace": {
                "workspaceFolders": {"supported": True, "changeNotifications": True},
                "fileOperations": {},
            },
        },
        "serverInfo": {"name": NAME, "version": __version__},
    }


class Replay:
    """An input that begins with bytes already read.

    Args:
        first: what is read before the rest.
        rest: where the rest comes from.
    """

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def readline(self) -> bytes:
        """Return the next line."""
        if not self._first:
            return self._rest.readline()
        line, end, self._first = self._first.partition(b"\n")
        return line + end

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if not self._first:
            return self._rest.read(size)
        data, self._first = self._first[:size], self._first[size:]
        return data


class WithoutFirstAnswer:
    """An output that drops the one response that was given already.

    Args:
        output: where everything else goes.
        answered: id of the request that has its response.
    """

    def __init__(self, output: BinaryIO, answered: int | str) -> None:
        self._output = output
        self._answered: int | str | None = answered

    def write(self, data: bytes) -> int:
        """Write one message."""
        if self._answered is not None:
            message = json.loads(data.partition(b"\r\n\r\n")[2])
            if message.get("id") == self._answered and "method" not in message:
                self._answered = None
                return len(data)
        return self._output.write(data)

    def flush(self) -> None:
        """Hand everything on."""
        self._output.flush()

    def close(self) -> None:
        """Close the output."""
        self._output.close()


def answer_initialize(
    stdin: BinaryIO, stdout: BinaryIO
) -> tuple[Replay | BinaryIO, WithoutFirstAnswer | BinaryIO]:
    """Read the first message and answer it if it is a well-formed `initialize`.

    Args:
        stdin: where the client's messages come from.
        stdout: where ours go.

    Returns:
        The streams for the LSP library, which sees the first message as well.
    """
    head, length = b"", 0
    while not head.endswith(b"\r\n\r\n"):
        line = stdin.readline()
        if not line:
            return Replay(head, stdin), stdout
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
        head += line
    body = stdin.read(length)
    replay = Replay(head + body, stdin)
    try:
        message = json.loads(body)
        identifier, params = message["id"], message["params"]
    except (ValueError, KeyError, TypeError):
        return replay, stdout
    if message.get("method") != "initialize" or not isinstance(params, dict):
        return replay, stdout
    answer = {"jsonrpc": "2.0", "id": identifier, "result": initialize_result(params)}
    content = json.dumps(answer).encode("utf-8")
    stdout.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
    stdout.flush()
    return replay, WithoutFirstAnswer(stdout, identifier)


def _at(values: Any, *names: str) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
