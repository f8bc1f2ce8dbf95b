"""Does our folder choose the tokens that llama.cpp chooses, made from the same GGUF file?

llama.cpp writes a greedy reply to each of a fixed set of prompts, and both say at every token of prompt and reply which
comes next. Printed are the shares on which they agree, and how many replies ours would write token for token.

    python benchmarks/agreement.py --llama-python VENV/bin/python [--data quixbugs.jsonl --tasks 20]

VENV has llama-cpp-python. Without data the prompts are those that exports are checked with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai  # type: ignore[import-untyped]
from engine import question_of
from tokenizers import Tokenizer

from lsp_server.engine.protocol import Message
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import catalog, store
from lsp_server.models.export import source_of
from lsp_server.models.exporter.acceptance import PROMPTS
from lsp_server.models.gguf_onnx.check import logits_along

PEER = """
import json, sys
import llama_cpp
path, length = sys.argv[1], int(sys.argv[2])
model = llama_cpp.Llama(path, n_ctx=2048, logits_all=True, verbose=False)
asked = json.load(sys.stdin)
found = []
for prompt in asked["prompts"]:
    model.reset()
    model.eval(prompt)
    reply = []
    while len(reply) < length:
        token = int(model.scores[model.n_tokens - 1].argmax())
        if token in asked["ends"]:
            break
        reply.append(token)
        model.eval([token])
    found.append({"reply": reply, "next": model.scores[: model.n_tokens].argmax(-1).tolist()})
print(json.dumps(found))
"""


def main() -> int:
    """Compare, and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-python", required=True, help="an interpreter with llama-cpp-python")
    parser.add_argument("--data", type=Path, help="quixbugs.jsonl")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=64, help="of each reply")
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    form = store.find(options.model)
    if form is None:
        sys.exit(f"{options.model} is not installed: run `oci-companion model pull` and `model export`")
    if options.data:
        chat = ChatTokenizer(form.path, store.entry(options.model).family)
        tasks = [json.loads(line) for line in options.data.read_text().splitlines()][: options.tasks]
        prompts = [chat.encode(chat.render([Message("user", question_of(task))])) for task in tasks]
    else:
        tokenizer = Tokenizer.from_file(str(form.path / "tokenizer.json"))
        prompts = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in PROMPTS]
    ends = json.loads((form.path / "genai_config.json").read_text())["model"]["eos_token_id"]
    gguf = source_of(store.entry(options.model))
    peer = subprocess.run(
        [options.llama_python, "-c", PEER, str(gguf), str(options.max_tokens)],
        input=json.dumps({"prompts": prompts, "ends": ends if isinstance(ends, list) else [ends]}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    model = onnxruntime_genai.Model(str(form.path))
    in_prompts, in_replies, whole = [], [], 0
    for prompt, theirs in zip(prompts, json.loads(peer.stdout), strict=True):
        ours = logits_along(model, [*prompt, *theirs["reply"]]).argmax(-1)
        same = [int(a) == b for a, b in zip(ours, theirs["next"], strict=True)]
        in_prompts += same[: len(prompt) - 1]
        in_replies += same[len(prompt) - 1 :]
        whole += all(same[len(prompt) - 1 :])
    found = {
        "form": form.path.name,
        "prompts": sum(in_prompts) / len(in_prompts),
        "prompt_tokens": len(in_prompts),
        "replies": sum(in_replies) / len(in_replies),
        "reply_tokens": len(in_replies),
        "whole": whole,
        "of": len(prompts),
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['form']} and llama.cpp agree on {found['replies']:.1%} of {found['reply_tokens']} tokens of replies "
            f"and {found['prompts']:.1%} of {found['prompt_tokens']} of prompts; {whole} of {len(prompts)} replies are "
            "the same token for token"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
