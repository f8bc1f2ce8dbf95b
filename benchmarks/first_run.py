"""How long is it from the end of `model pull` to the first token, and how much memory does that take?

Ours exports the model to ONNX first and starts the engine on it; the peer, llama.cpp's server, maps the file as it is.

    python benchmarks/first_run.py --llama-python VENV/bin/python

VENV has llama-cpp-python[server].
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

import psutil
from engine import Peer, ask, llama_server, our_server
from tokenizers import Tokenizer

from lsp_server.models import catalog, store
from lsp_server.models.export import source_of

QUESTION = [{"role": "user", "content": "Write a Python function that reverses a string."}]


def main() -> int:
    """Export, serve and ask; then let the peer serve, and ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-python", required=True, help="an interpreter with llama-cpp-python[server]")
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False))
    options = parser.parse_args()
    source = store.source_dir(options.model).resolve()
    gguf = source_of(store.entry(options.model))
    with tempfile.TemporaryDirectory(dir=store.home()) as folder:
        os.environ[store.HOME_VARIABLE] = folder
        store.model_dir(options.model).mkdir(parents=True)
        store.source_dir(options.model).symlink_to(source)
        started = time.perf_counter()
        command = [sys.executable, "-m", "lsp_server.cli", "model", "export", options.model]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        export = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        form = store.find(options.model)
        assert form is not None
        tokenizer = Tokenizer.from_file(str(form.path / "tokenizer.json"))
        print(
            f"export ({form.precision}): {export:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, at most "
            f"{used.ru_maxrss / 1e6:.2f} GB for a file of {gguf.stat().st_size / 1e9:.2f} GB (its mapped pages included)"
        )
        with our_server("companion", options, []) as ours:
            first = _first_token(ours, tokenizer)
    print(f"load: {ours.load:.1f} s; first token after another {first:.1f} s")
    print(f"companion, from pull to first token: {export + ours.load + first:.1f} s")
    with llama_server("llama.cpp", options, gguf, []) as peer:
        theirs = peer.load + _first_token(peer, tokenizer)
    print(f"llama.cpp's server, from its start to its first token: {theirs:.1f} s")
    print(f"ours without the export, which is done once: x {theirs / (ours.load + first):.2f}")
    return 0


def _first_token(peer: Peer, tokenizer: Tokenizer) -> float:
    return ask(peer, QUESTION, 1, tokenizer)[1].first


if __name__ == "__main__":
    sys.exit(main())
