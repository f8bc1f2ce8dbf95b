"""Where models lie on the disk, and which of them are there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from . import catalog
from .catalog import Device, ModelEntry, Precision

HOME_VARIABLE = "OCI_COMPANION_HOME"
"""Environment variable that moves everything the companion stores."""

FASTEST: tuple[Precision, ...] = ("int8", "int4", "fp16", "fp32")
"""int8 is made only for processors that are good at it; for the rest, the fewer bytes the better."""


class ModelError(Exception):
    """A model could not be had; the message says what mends it."""


class NotEnoughDisk(ModelError):
    """The disk has less free space than the step needs."""


class Cancelled(ModelError):
    """The caller asked to stop; what was done so far is kept where it can be resumed."""


@dataclass(frozen=True)
class Installed:
    """An exported model, ready for the engine."""

    model_id: str
    precision: Precision
    device: Device
    path: Path
    size: int
    """Bytes on the disk."""
    manifest: dict[str, Any]
    """What it was made from, with which versions, and its parity figures."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the graph and its weights: what is loaded into memory."""
        return sum(file.stat().st_size for file in self.path.glob("*.onnx*"))


def home() -> Path:
    """The companion's data folder: `OCI_COMPANION_HOME`, or the platform's user data folder."""
    override = os.environ.get(HOME_VARIABLE)
    return Path(override) if override else platformdirs.user_data_path("oci-companion")


def model_dir(model_id: str) -> Path:
    """Folder of all that belongs to one model."""
    return home() / "models" / model_id


def source_dir(model_id: str) -> Path:
    """Folder of the pulled files; it exists only once they are whole and verified."""
    return model_dir(model_id) / "source"


def onnx_dir(model_id: str, precision: Precision, device: Device) -> Path:
    """Folder of one exported form; it exists only once it is whole and proven."""
    return model_dir(model_id) / f"onnx-{precision}-{device}"


def entry(model_id: str) -> ModelEntry:
    """What is known of a model: of the catalog, or made from a file of the user's own.

    Raises:
        UnknownModel: neither.
    """
    own = model_dir(model_id) / "entry.json"
    if catalog.known(model_id) or not own.is_file():
        return catalog.entry(model_id)
    fields = json.loads(own.read_text(encoding="utf-8"))
    return ModelEntry(**fields | {"stop_ids": tuple(fields["stop_ids"]), "files": ()})


def register(own: ModelEntry) -> None:
    """Remember a model that the catalog does not have.

    Raises:
        ModelError: the catalog has one of that id.
    """
    if catalog.known(own.id):
        raise ModelError(f"'{own.id}' is a model of the catalog: give yours another name with --name")
    folder = model_dir(own.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "entry.json").write_text(json.dumps(asdict(own), indent=2), encoding="utf-8")


def entries() -> list[ModelEntry]:
    """Every model that is known: the catalog's, then the user's own."""
    own = sorted(file.parent.name for file in (home() / "models").glob("*/entry.json"))
    return [*catalog.CATALOG, *(entry(name) for name in own if not catalog.known(name))]


def chat_template_file(model_id: str) -> Path:
    """Where the user's own chat template for a model lies, if there is one."""
    return model_dir(model_id) / "chat_template.jinja"


def chat_template(model_id: str) -> str | None:
    """The user's own chat template for a model, which wins over the model's; None if there is none."""
    file = chat_template_file(model_id)
    return file.read_text(encoding="utf-8") if file.is_file() else None


def keep_chat_template(model_id: str, text: str) -> Path:
    """Make a chat template the user's own for a model; return its file."""
    file = chat_template_file(model_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
    return file


def pulled(model_id: str) -> bool:
    """Whether the model's source files are there."""
    return (source_dir(model_id) / "source.json").is_file()


def installed() -> list[Installed]:
    """Every exported model, by id, then precision, then device."""
    found = []
    for manifest_file in sorted((home() / "models").glob("*/onnx-*-*/manifest.json")):
        folder = manifest_file.parent
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        found.append(
            Installed(
                folder.parent.name,
                manifest["precision"],
                manifest["device"],
                folder,
                _size(folder),
                manifest,
            )
        )
    return found


def find(model_id: str, device: Device | None = None) -> Installed | None:
    """The exported form of a model that this machine should run, or None.

    A CUDA form is preferred where there is one: it is exported only on purpose. Among several, the fastest is taken.

    Args:
        model_id: id of the model.
        device: only forms for this; None: any.
    """
    forms = [form for form in installed() if form.model_id == model_id and device in (None, form.device)]
    return min(forms, key=lambda form: (form.device != "cuda", FASTEST.index(form.precision)), default=None)


def remove(model_id: str) -> int:
    """Delete a model, source and exports; return the bytes freed (0: it was not there)."""
    folder = model_dir(model_id)
    if not folder.is_dir():
        return 0
    with lock(model_id):
        freed = _size(folder)
        shutil.rmtree(folder)
    return freed


@contextmanager
def lock(name: str, wait: float = 1.0) -> Iterator[None]:
    """Hold the lock between processes that guards one model (or another named thing) in the store.

    Args:
        name: what it guards.
        wait: seconds to wait for another process that has it.

    Raises:
        ModelError: another process has held it for too long to be waited for.
    """
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / f"{name}.lock", timeout=wait):
            yield
    except filelock.Timeout as error:
        raise ModelError(
            f"another oci-companion process is at work on {name}; wait for it to end, then try again"
        ) from error


def need_disk(folder: Path, size: int, what: str) -> None:
    """Check that `size` bytes are free where `folder` is (or will be).

    Raises:
        NotEnoughDisk: fewer are.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise NotEnoughDisk(
            f"{what} needs {size / 1e9:.1f} GB in {existing}, and {free / 1e9:.1f} GB are free; free some space, "
            f"or set {HOME_VARIABLE} to a folder on a larger disk"
        )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
