"""Get model files from the official hub, resuming what an earlier attempt left."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .catalog import ModelEntry
from .transfer import BLOCK, Progress, Unreachable, check_cancel, verify

WANTED = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|[\w.-]+\.safetensors\.index)\.json|tokenizer\.model|merges\.txt|chat_template\.jinja|[\w-][\w.-]*\.safetensors"
)
"""Files of a repository that an export needs; anything in a folder of its own is left out."""
PICKLED = re.compile(r"pytorch_model[\w.-]*\.bin(\.index\.json)?")
"""Weights of repositories that have no safetensors; PyTorch reads them as data, without running code."""

ATTEMPTS = 3
"""How often a broken transfer is taken up again within one pull."""
TIMEOUT = httpx.Timeout(30, connect=5)
"""Seconds; a machine that is offline should find out soon."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub describes it."""

    name: str
    size: int
    digest: str
    algorithm: str
    """`sha256`, or `git` for small files kept in git itself."""


def endpoint() -> str:
    """The hub's address; `HF_ENDPOINT` names another."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def listing(entry: ModelEntry) -> tuple[str, tuple[RemoteFile, ...]]:
    """Return the commit and the files to get, from the catalog where it knows them, else from the hub.

    Raises:
        Unreachable: the hub does not answer, or refuses.
    """
    if entry.files:
        return entry.revision, tuple(RemoteFile(f.name, f.size, f.sha256, "sha256") for f in entry.files)
    url = f"{endpoint()}/api/models/{entry.repo}/revision/{entry.revision}"
    try:
        with _client() as client:
            response = client.get(url, params={"blobs": "true"})
            response.raise_for_status()
            info = response.json()
        siblings = {sibling["rfilename"]: sibling for sibling in info["siblings"]}
        chosen = [name for name in siblings if WANTED.fullmatch(name)]
        if not any(name.endswith(".safetensors") for name in chosen):
            chosen += [name for name in siblings if PICKLED.fullmatch(name)]
        files = tuple(_remote(siblings[name]) for name in chosen)
        commit = str(info["sha"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise Unreachable(f"{endpoint()} gave no list of the files of {entry.repo}: {error}") from error
    if not files:
        raise Unreachable(f"{entry.repo} at {endpoint()} holds no model files")
    return commit, files


def _remote(sibling: dict[str, Any]) -> RemoteFile:
    """A file of the hub's listing: large ones carry a SHA-256, small ones git's id."""
    if lfs := sibling.get("lfs"):
        return RemoteFile(sibling["rfilename"], lfs["size"], lfs["sha256"], "sha256")
    return RemoteFile(sibling["rfilename"], sibling["size"], sibling["blobId"], "git")


def _client() -> httpx.Client:
    """A client that carries the user's hub token, if there is one, and no other trace of them."""
    from huggingface_hub import get_token

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers=headers)


def download(
    entry: ModelEntry,
    commit: str,
    files: tuple[RemoteFile, ...],
    folder: Path,
    progress: Progress,
    cancel: threading.Event,
) -> None:
    """Put the verified files into `folder`; a file that is there under its own name is whole already.

    Raises:
        Unreachable: the hub cannot be reached or does not have a file.
        WrongContent: a file arrived that is not the published one.
        Cancelled: `cancel` was set; what has arrived stays for the next attempt.
    """
    from huggingface_hub import hf_hub_url

    total = sum(file.size for file in files)
    before = 0
    with _client() as client:
        for file in files:
            whole = folder / file.name
            if not whole.exists():
                partial = folder / f"{file.name}.hub-partial"
                url = hf_hub_url(entry.repo, file.name, revision=commit, endpoint=endpoint())
                _fetch(client, url, file, partial, _shifted(progress, before, total), cancel)
                verify(partial, file.size, file.digest, file.algorithm, cancel)
                partial.replace(whole)
            before += file.size
            progress(before, total)


def _shifted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda have: progress(before + have, total)


def _fetch(
    client: httpx.Client,
    url: str,
    file: RemoteFile,
    partial: Path,
    progress: Callable[[int], None],
    cancel: threading.Event,
) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _append(client, url, file, partial, progress, cancel)
        except httpx.HTTPError as error:
            if attempt == ATTEMPTS or isinstance(error, httpx.HTTPStatusError | httpx.ConnectError):
                raise Unreachable(f"{file.name} could not be had from {endpoint()}: {error}") from error
            time.sleep(attempt)
        else:
            return


def _append(
    client: httpx.Client,
    url: str,
    file: RemoteFile,
    partial: Path,
    progress: Callable[[int], None],
    cancel: threading.Event,
) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if have >= file.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        # A server that ignores Range starts over: so do we.
        have = have if response.status_code == 206 else 0
        with partial.open("ab" if have else "wb") as stream:
            for block in response.iter_bytes(BLOCK):
                check_cancel(cancel)
                stream.write(block)
                have += len(block)
                progress(have)
