"""Confines the process that it runs in with Landlock and seccomp, runs the driver below it, and reaps all it leaves.

Runs in an interpreter without site packages: the standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import sys
from typing import Any

from runner.sandbox import reaper

CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on all architectures."""
VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 38, 22, 24
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522

# Access rights of include/uapi/linux/landlock.h.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many of the rights the versions know; later ones know as many as the fifth."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_SCOPES = 3
"""Abstract sockets, and signals to processes outside."""


def main(arguments: list[str]) -> None:
    """Run the command in `arguments[1:]` under the policy in `arguments[0]`; end with its status."""
    policy = json.loads(arguments[0])
    sys.exit(reaper.main(arguments[1:], lambda: confine(policy)))


def confine(policy: dict[str, Any]) -> None:
    """Give up for good what the policy does not name; an OSError ends the process before any user code runs.

    Args:
        policy: `read` and `write`, paths; `filter`, a seccomp program in hexadecimal digits.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(libc)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _landlock(libc, policy["read"], policy["write"])
    if policy["filter"]:
        _filter(libc, bytes.fromhex(policy["filter"]))


def _landlock(libc: ctypes.CDLL, read: list[str], write: list[str]) -> None:
    version = _check(libc.syscall(CREATE_RULESET, None, 0, VERSION))
    rights = (1 << _RIGHTS.get(version, 16)) - 1
    # The network stays with seccomp, which also knows UDP; TCP by Landlock would have to be told each port.
    attributes = struct.pack("=Q", rights)
    if version >= 6:
        attributes = struct.pack("=QQQ", rights, 0, _SCOPES)
    ruleset = _check(libc.syscall(CREATE_RULESET, attributes, len(attributes), 0))
    for paths, allowed in ((read, rights & _READ), (write, rights)):
        for path in paths:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed_here = allowed & _OF_FILES if not stat.S_ISDIR(os.fstat(beneath).st_mode) else allowed
            rule = struct.pack("=Qi", allowed_here, beneath)
            _check(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
            os.close(beneath)
    _check(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Of a companion that runs as root."""
    number = 0
    while libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _check(libc.capset(header, bytes(24)))


def _filter(libc: ctypes.CDLL, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    _check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
