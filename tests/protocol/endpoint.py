"""A test double for a model: an OpenAI-compatible endpoint whose replies are written beforehand, streamed slowly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def fenced(code: str) -> str:
    """Return a reply that holds this code."""
    return f"Here it is.\n```python\n{code}\n```\n"


class Endpoint:
    """Answers with the given replies, in turn, the last one again and again.

    Args:
        replies: texts.
        pause: seconds between two pieces of a reply.
    """

    def __init__(self, *replies: str, pause: float = 0.0) -> None:
        self.replies = list(replies)
        self.pause = pause
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.streaming = threading.Event()
        """Set while and after a reply is sent."""
        self.broken_off = threading.Event()
        """The client has left in the middle of a reply."""
        self.before_end: Callable[[], None] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """The address for `oci.endpoint`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._json(200, {"data": [{"id": "scripted"}]})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            if not self.path.endswith("/chat/completions"):
                self.rfile.read(length)
                self._json(404, {"error": {"message": "no such page"}})
                return
            endpoint.asked.append(json.loads(self.rfile.read(length)))
            if endpoint.status != 200:
                self._json(endpoint.status, {"error": {"message": "scripted failure"}})
                return
            reply = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for word in reply.split(" "):
                    self._event({"choices": [{"index": 0, "delta": {"content": word + " "}}]})
                    endpoint.streaming.set()
                    time.sleep(endpoint.pause)
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                endpoint.broken_off.set()

        def _event(self, data: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
            self.wfile.flush()

        def _json(self, status: int, data: dict[str, Any]) -> None:
            content = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler
