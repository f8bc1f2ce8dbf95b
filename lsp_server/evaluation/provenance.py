"""Everything that is needed to make an evaluation again: model, versions, machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lsp_server import __version__
from lsp_server.features.work import model_name
from lsp_server.models import store
from lsp_server.settings import Settings

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-genai", "tokenizers")


def provenance(settings: Settings) -> dict[str, Any]:
    """Return model, versions and machine, as a run's manifest has them.

    Args:
        settings: which model, or whose endpoint.

    Raises:
        UnknownModel: the catalog has no such model.
    """
    return {
        "model": _model(settings),
        "versions": {
            "oci-companion": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _DISTRIBUTIONS},
        },
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }


def _model(settings: Settings) -> dict[str, Any]:
    if settings.endpoint:
        return {"id": settings.model, "endpoint": settings.endpoint}
    known = store.entry(model_name(settings))
    form = store.find(known.id)
    if form is None:
        return {"id": known.id}
    return {
        "id": known.id,
        "precision": form.precision,
        "device": form.device,
        "export": form.manifest,
        "sources": {file.name: file.sha256 for file in known.files},
        "template": digest(store.chat_template(known.id) or ""),
    }


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tasks_digest(tasks: Iterable[object]) -> str:
    """Return the SHA-256 of tasks, whatever file they came from."""
    return digest("\n".join(map(repr, tasks)))
