"""The real default model, as `oci-companion model pull` and `model export` leave it."""

from __future__ import annotations

import pytest

from lsp_server.models import catalog, store


def local_model() -> str:
    """Return the default model's id, or fail with the commands that bring it."""
    if store.find(catalog.DEFAULT) is None:
        pytest.fail(
            f"The model {catalog.DEFAULT} is not here: oci-companion model pull && oci-companion model export"
        )
    return catalog.DEFAULT
