"""The default model, made straight from its GGUF file, chooses the tokens that llama.cpp chooses from the same file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.model.environments import LLAMA_CPP, python_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "agreement.py"


def test_tokens_are_llama_cpps_on_fixed_prompts() -> None:
    command = [sys.executable, str(SCRIPT), "--llama-python", str(python_of(LLAMA_CPP)), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["reply_tokens"] > 100
    assert found["replies"] > 0.95
    assert found["prompts"] > 0.95
