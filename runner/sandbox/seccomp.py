"""A seccomp filter, as the bytes of its BPF program: system calls that tests don't need and attacks do."""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

# Numbers on x86-64 and on aarch64, from the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h.
_DENIED = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
}
_ARCHITECTURES = {"x86_64": (0xC000003E, 0, 41), "aarch64": (0xC00000B7, 1, 198)}
"""AUDIT_ARCH value, column in the table, and the number of `socket`."""
INTERNET = (2, 10)
"""AF_INET and AF_INET6."""
OWN_NETWORK = (1, *INTERNET, 16)
"""And AF_UNIX and AF_NETLINK, where all are of the sandbox's own network namespace."""
_X32_BIT = 0x40000000

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def program(families: Sequence[int], machine: str = "") -> bytes | None:
    """Return the filter's program, in the form that bubblewrap's --seccomp reads.

    Args:
        families: the sockets that may be made.
        machine: as `platform.machine()` has it; this machine's by default.

    Returns:
        The program, or None for an architecture whose numbers are not known here.
    """
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    architecture, column, socket = known
    refuse_call = _instruction(_RETURN, _ERRNO | errno.EPERM)
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_EQUAL, architecture, 1, 0),
        refuse_call,  # another architecture's numbers mean other calls
        _instruction(_LOAD, _NUMBER_AT),
    ]
    if column == 0:
        code += [_instruction(_AT_LEAST, _X32_BIT, 0, 1), refuse_call]
    for numbers in _DENIED.values():
        code += [_instruction(_EQUAL, numbers[column], 0, 1), refuse_call]
    code += [
        _instruction(_EQUAL, socket, 1, 0),
        _instruction(_RETURN, _ALLOW),
        _instruction(_LOAD, _FIRST_ARGUMENT_AT),
    ]
    for family in families:
        code += [_instruction(_EQUAL, family, 0, 1), _instruction(_RETURN, _ALLOW)]
    code.append(_instruction(_RETURN, _ERRNO | errno.EAFNOSUPPORT))
    return b"".join(code)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
