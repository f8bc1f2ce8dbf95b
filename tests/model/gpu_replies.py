"""A greedy reply of our own engine on the runtime for NVIDIA GPUs, which takes a process of its own.

Usage: gpu_replies.py FOLDER CONTEXT TOKENS, and the prompt's token ids on standard input; prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lsp_server.engine import runtime
from lsp_server.models import store


def reply(folder: Path, prompt: Sequence[int], tokens: int, context: int) -> list[int]:
    """As `replies.reply`, on the GPU.

    Args:
        folder: the ONNX folder, of a form for CUDA.
        prompt: token ids.
        tokens: how many are wanted.
        context: most tokens of prompt and reply.
    """
    command = [sys.executable, __file__, str(folder), str(context), str(tokens)]
    done = subprocess.run(command, input=json.dumps(prompt), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Choose the GPU, load its runtime, and reply."""
    folder, context, tokens = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    choice = runtime.choose(store.Installed("tiny", "int4", "cuda", folder, 0, {}))
    runtime.prepare(choice)
    from replies import reply as reply_here

    print(json.dumps(reply_here(folder, json.load(sys.stdin), tokens, context, choice.memory)))


if __name__ == "__main__":
    main()
