"""What is measured: a model in the form that this machine runs, or an endpoint's; as a manifest tells it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from lsp_server import __version__
from lsp_server.engine import runtime
from lsp_server.engine.protocol import EngineError, Message
from lsp_server.engine.supervise import CONTEXT, missing
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.evaluation.run_folder import EvaluationError
from lsp_server.models import machine, store
from lsp_server.models.catalog import Precision
from lsp_server.models.fit import RESERVE, fit


def described(model: str, endpoint: str) -> dict[str, Any]:
    """Return what reproducing a run takes to know of the model and of the programs that run it.

    Args:
        model: its id.
        endpoint: address of an OpenAI-compatible server; empty: our own engine.

    Raises:
        EvaluationError: an endpoint's model is not named.
        EngineError, UnknownModel: the model is not here.
    """
    versions = {"oci-companion": __version__}
    if endpoint:
        if not model:
            raise EvaluationError("Name the model that the endpoint is to answer with: --model ID.")
        return {"model": {"id": model, "endpoint": endpoint}, "versions": versions}
    form = store.find(store.entry(model).id)
    if form is None:
        raise EngineError(missing(model))
    form = runtime.choose(form).form
    source: Mapping[str, Any] = form.manifest.get("source") or {}
    for package in ("onnxruntime", "onnxruntime-genai", "tokenizers"):
        versions[package] = importlib.metadata.version(package)
    return {
        "model": {
            "id": model,
            "precision": form.precision,
            "device": form.device,
            "revision": source.get("revision", ""),
            "files": {each["name"]: each["sha256"] for each in source.get("files", ())},
            "exporter": form.manifest.get("exporter", ""),
        },
        "versions": versions,
    }


def prompt_tokens(model: str, conversations: Sequence[Sequence[Message]]) -> list[int]:
    """Return how many tokens conversations have, by a model's own tokenizer; no engine is started.

    Returns:
        Nothing if the model is not installed.

    Raises:
        EngineError: its tokenizer cannot be read.
        UnknownModel: the catalog has no such model.
    """
    entry, form = store.entry(model), store.find(model)
    if form is None:
        return []
    tokenizer = ChatTokenizer(form.path, entry.family, store.chat_template(model))
    return [len(tokenizer.encode(tokenizer.render(each))) for each in conversations]


def needs(model: str) -> list[str]:
    """Return, in lines, what memory a model needs and whether this machine has it.

    Raises:
        EngineError: it is here for a GPU only, and there is none to use.
        UnknownModel: the catalog has no such model.
    """
    entry, form = store.entry(model), store.find(model)
    if form:
        choice = runtime.choose(form)
        form, here = choice.form, choice.memory
    else:
        here = machine.memories()[0]
    sizes: dict[tuple[str, Precision], int] = {(model, form.precision): form.weight_bytes} if form else {}
    found = fit(entry, here.total, here.device, sizes)
    lines = []
    for each in found.forms:
        if form and each.precision != form.precision:
            continue
        needed = each.weights + RESERVE[here.device] + CONTEXT * found.token_bytes
        room = f"room for {each.context} tokens" if each.context else "does not fit"
        lines.append(
            f"  {each.precision}: {each.weights / 1e9:.1f} GB of weights, {needed / 1e9:.1f} GB with a context of "
            f"{CONTEXT} tokens; {here.name} of {here.total / 1e9:.1f} GB: {room}"
        )
    return lines if form else [f"  {missing(model)}", *lines]
