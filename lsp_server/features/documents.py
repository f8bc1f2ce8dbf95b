"""The editor's documents: which of them are ours, which workspace they are in, and snapshots of all of them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from lsp_server.features import l10n
from lsp_server.features.session import CompanionServer
from lsp_server.refine.task import ROOT_MARKERS, Document, Snapshot, TaskError, workspace_of


def open_document(server: CompanionServer, uri: str) -> TextDocument | None:
    """Return the editor's buffer for a uri, None if it has none."""
    document: TextDocument | None = server.workspace.text_documents.get(unquote(uri))
    return document


def same_uri(uri: str) -> str:
    """Return a file's uri as we write it, however the client does."""
    path = to_fs_path(uri)
    return Path(path).as_uri() if path else uri


def is_python_file(uri: str) -> bool:
    """Whether a uri is a Python source file on disk; stubs (.pyi) and notebook cells are not."""
    return urlsplit(uri).scheme == "file" and unquote(urlsplit(uri).path).endswith(".py")


def root_of(server: CompanionServer, path: Path) -> Path:
    """Return the innermost workspace folder that holds a file, else the project that its surroundings show."""
    around = [folder for folder in opened(server) if path.is_relative_to(folder)]
    return max(around, key=lambda folder: len(folder.parts)) if around else workspace_of(path)


def is_opened(server: CompanionServer, root: Path) -> bool:
    """Return whether a root is, or lies in, a folder that the user has opened; or a project, where none is open."""
    if folders := opened(server):
        return any(root.is_relative_to(folder) for folder in folders)
    return any((root / marker).exists() for marker in ROOT_MARKERS) and root != Path.home()


def opened(server: CompanionServer) -> list[Path]:
    """Return the folders that the user has opened."""
    folders = [to_fs_path(folder.uri) for folder in server.workspace.folders.values()]
    found = [Path(folder) for folder in (*folders, server.workspace.root_path) if folder]
    return [folder for folder in dict.fromkeys(found) if folder.as_uri() not in server.closed]


def locate(server: CompanionServer, uri: str) -> tuple[Path, PurePosixPath]:
    """Return a file's workspace and its path there.

    Raises:
        TaskError: it is not a Python source file on disk.
    """
    name = to_fs_path(uri) if is_python_file(uri) else None
    if name is None:
        raise TaskError(l10n.text("Only Python source files (.py) on disk are worked on."))
    path = Path(name)
    root = root_of(server, path)
    return root, PurePosixPath(path.relative_to(root).as_posix())


def snapshot(server: CompanionServer, root: Path) -> Snapshot:
    """Return the workspace with the texts of all open Python buffers in it."""
    buffers: dict[PurePosixPath, Document] = {}
    for document in server.workspace.text_documents.values():
        if is_python_file(document.uri) and Path(document.path).is_relative_to(root):
            path = PurePosixPath(Path(document.path).relative_to(root).as_posix())
            buffers[path] = Document(path, document.source, document.version or 0)
    return Snapshot(root, buffers)


def uri_of(root: Path, path: PurePosixPath) -> str:
    """Return the uri of a file in a workspace."""
    return (root / path).as_uri()
