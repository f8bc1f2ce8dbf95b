"""The real default model, and a store of the tests' own that shares its files but not its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lsp_server.engine import supervise
from lsp_server.models import catalog, store

# By itself hypothesis fails an example that takes 0.2 s, which a busy machine makes of any.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def default_model() -> store.Installed:
    """The exported default model."""
    form = store.find(catalog.DEFAULT)
    if form is None:
        pytest.fail(
            f"the default model is not installed: run `oci-companion model pull {catalog.DEFAULT}`, then "
            f"`oci-companion model export {catalog.DEFAULT}`"
        )
    return form


@pytest.fixture
def own_home(
    default_model: store.Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A companion home where only the models are shared; its server is ended afterwards."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(default_model.path.parent.parent)
    monkeypatch.setenv(store.HOME_VARIABLE, str(home))
    yield home
    supervise.stop(catalog.DEFAULT)
