"""Memory really runs out, by a limit on the engine's process: what happens is told, and the engine goes on."""

from __future__ import annotations

import json
import subprocess
import sys

from lsp_server.models import catalog, store

SCRIPT = """
import json, resource, sys, threading
from pathlib import Path
import psutil
from lsp_server.engine.protocol import EngineError, Sampling
from lsp_server.engine.session import Session, Usage
from lsp_server.engine.tokenizer import ChatTokenizer

folder, family = Path(sys.argv[1]), sys.argv[2]
session = Session(folder, ChatTokenizer(folder, family), 32768, cache_bytes=1 << 40)

def reply(prompt):
    usage = Usage()
    text = "".join(session.complete(prompt, Sampling(max_tokens=4), (), threading.Event(), usage))
    return text, session.conversations.count

found = {"first": reply(list(range(1000, 1040)))}
room = 600_000_000
limit = psutil.Process().memory_info().vms + room
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found["more"] = [reply(list(range(at, at + 40))) for at in range(2000, 12000, 1000)]
try:
    reply([1000] * 30000)
except EngineError as error:
    found["too much"] = str(error)
found["after"] = reply(list(range(1000, 1040)))
print(json.dumps(found))
"""


def test_conversations_give_way_then_it_is_said_then_it_goes_on() -> None:
    form = store.find(catalog.DEFAULT)
    assert form is not None, "run `oci-companion model pull` and `oci-companion model export`"
    command = [sys.executable, "-c", SCRIPT, str(form.path), catalog.entry(catalog.DEFAULT).family]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    counts = [count for _, count in found["more"]]
    assert max(counts) < len(counts), "nothing had to give way"
    assert "out of memory: a conversation of" in found["too much"]
    assert found["after"][0] == found["first"][0]
