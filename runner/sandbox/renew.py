"""Gives a running sandbox a fresh overlay, /tmp and /dev/shm, from outside of it: for processes that serve many runs.

A program of its own, for only a process with one thread may enter a user namespace. It joins the mount namespace that
bubblewrap has made, which it may as the same user's process in the parent namespace; nothing inside the sandbox has
that right. Each line of its standard input is an order; each is answered with a line: empty, or what went wrong.

Runs in an interpreter without site packages: the standard library only.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

NS_GET_USERNS = 0xB701
_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
"""System call numbers, the same on all architectures."""
_EMPTY_PATH, _RECURSIVE, _CLONE = 0x1000, 0x8000, 1
_MOVE_FROM_EMPTY_PATH = 4
_HERE = -100
_SET_STRING, _CREATE = 1, 6
_MOUNT_NOSUID, _MOUNT_NODEV = 2, 4
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND = 1, 2, 4, 32, 4096
_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class Sandbox:
    """A sandbox that was entered.

    Args:
        pid: of a process in it.
        workspace: where the workspace is, in it as outside.
        lower: where the sandbox has the workspace read-only.
        kept: what is mounted below /tmp and has to be there again, besides the workspace.
        size: bytes that may be written to the workspace, and to each of the other places.

    Raises:
        OSError: the kernel does not allow it.
    """

    def __init__(self, pid: int, workspace: str, lower: str, kept: list[str], size: int) -> None:
        self.workspace, self.lower, self.size = workspace, lower, size
        self.renewed = False
        self.mode = Path(workspace).stat().st_mode & 0o7777
        mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
        messages = os.open(f"/proc/{pid}/ns/ipc", os.O_RDONLY)
        owner = fcntl.ioctl(mounts, NS_GET_USERNS)
        _check(_libc.setns(owner, _NEW_USER), "entering the user namespace")
        _check(_libc.setns(messages, _NEW_IPC), "entering the IPC namespace")
        _check(_libc.setns(mounts, _NEW_MOUNTS), "entering the mount namespace")
        self.queues = _new_mount(b"mqueue")
        self.kept = [(path, os.open(path, os.O_PATH | os.O_NOFOLLOW)) for path in kept]

    def renew(self, files: dict[str, bytes], protected: list[str]) -> None:
        """Replace all that can be written.

        Args:
            files: contents laid over the workspace, by path relative to it.
            protected: files of the workspace that are read-only for the run.
        """
        self.drop()
        self._mount(b"tmpfs", "/dev/shm", b"tmpfs", f"mode=1777,size={self.size}")
        self._mount(b"tmpfs", "/tmp", b"tmpfs", f"mode=1777,size={self.size}")
        Path("/tmp/home").mkdir(0o700)
        for path, held in self.kept:
            self._show_again(Path(path), held)
        Path(self.workspace).mkdir(parents=True, exist_ok=True)
        scratch = _new_mount(b"tmpfs", (b"size", str(self.size).encode()), (b"mode", b"0700"))
        os.fchdir(scratch)
        Path("work").mkdir()
        Path("upper").mkdir()
        Path("upper").chmod(self.mode)
        for name, content in files.items():
            self._lay(name, content)
        self._mount(
            b"overlay",
            self.workspace,
            b"overlay",
            f"lowerdir={self.lower},upperdir=upper,workdir=work,userxattr",
        )
        os.chdir("/")
        os.close(scratch)
        self.renewed = True
        for path in protected:
            self._mount(os.fsencode(path), path, None, "", _BIND)
            self._mount(None, path, None, "", _BIND | _REMOUNT | _RDONLY)

    def drop(self) -> None:
        """Let go of what the last run has written."""
        if self.renewed:
            self.renewed = False
            for path in (self.workspace, "/tmp", "/dev/shm"):
                _check(_libc.umount2(os.fsencode(path), _DETACH), f"unmounting {path}")

    def left_behind(self) -> str:
        """Return what outlives processes and files: System V's and POSIX's messages, semaphores and memory."""
        for kind in ("shm", "sem", "msg"):
            if len(Path(f"/proc/sysvipc/{kind}").read_bytes().splitlines()) > 1:
                return f"System V {kind}"
        queues = os.open(".", os.O_RDONLY, dir_fd=self.queues)
        try:
            with os.scandir(queues) as found:
                return "message queues" if any(found) else ""
        finally:
            os.close(queues)

    def _lay(self, name: str, content: bytes) -> None:
        at = Path("upper", name)
        mode = 0o644
        below = Path(self.lower)
        for folder in list(reversed(at.parents))[2:]:
            if not folder.exists():
                folder.mkdir()
                original = below / folder.relative_to("upper")
                if original.is_dir():
                    folder.chmod(original.stat().st_mode & 0o7777)
        if (original := below / name).exists():
            mode = original.stat().st_mode & 0o777
        at.write_bytes(content)
        at.chmod(mode)
        # Python takes bytecode for current if time (whole seconds) and size agree; a text typed within the second in
        # which the file was saved could be mistaken for it.
        for stale in original.parent.glob(f"__pycache__/{original.stem}.*.pyc"):
            (at.parent / "__pycache__").mkdir(exist_ok=True)
            (at.parent / "__pycache__" / stale.name).touch()

    def _show_again(self, path: Path, held: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = os.fstat(held).st_mode
        if stat.S_ISLNK(mode):
            path.symlink_to(os.fsdecode(os.readlink(b"", dir_fd=held)))
            return
        if stat.S_ISDIR(mode):
            path.mkdir()
        else:
            path.touch()
        what = f"mounting {path}"
        tree = _libc.syscall(_OPEN_TREE, held, b"", _EMPTY_PATH | _RECURSIVE | _CLONE | os.O_CLOEXEC)
        _check(tree, what)
        moved = _libc.syscall(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(path), _MOVE_FROM_EMPTY_PATH)
        _check(moved, what)
        os.close(tree)

    def _mount(
        self, source: bytes | None, target: str, kind: bytes | None, options: str, flags: int = 0
    ) -> None:
        said = _libc.mount(
            source, os.fsencode(target), kind, flags | _NOSUID | _NODEV, os.fsencode(options) or None
        )
        _check(said, f"mounting {target}")


def _new_mount(kind: bytes, *options: tuple[bytes, bytes]) -> int:
    """Mount a file system nowhere, and return its root."""
    context = _check(_libc.syscall(_FSOPEN, kind, 1), kind.decode())
    for name, value in options:
        _check(_libc.syscall(_FSCONFIG, context, _SET_STRING, name, value, 0), name.decode())
    _check(_libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0), kind.decode())
    made = _check(_libc.syscall(_FSMOUNT, context, 1, _MOUNT_NOSUID | _MOUNT_NODEV), kind.decode())
    os.close(context)
    return made


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def main() -> None:
    """Enter the sandbox that the first line names, then obey the rest."""
    sandbox: Sandbox | None = None
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        said = ""
        try:
            if sandbox is None:
                sandbox = Sandbox(**order)
            elif "files" in order:
                files = {name: base64.b64decode(text) for name, text in order["files"].items()}
                sandbox.renew(files, order["protected"])
            else:
                sandbox.drop()
                said = sandbox.left_behind()
        except OSError as error:
            said = str(error) or "failed"
        print(said, flush=True)


if __name__ == "__main__":
    main()
