"""A process of the same user without any capability, and what it can do to another process.

`attacker.py victim` waits; `attacker.py attack PID` prints what worked, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from ctypes import byref

from proofml.tee.enclave import isolation

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def _attach(number: int) -> None:
    if _LIBC.ptrace(_PTRACE_ATTACH, number, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(number, 0x40000000)  # __WALL
    _LIBC.ptrace(_PTRACE_DETACH, number, None, None)


def _first_mapping(number: int) -> int:
    with open(f"/proc/{number}/maps", encoding="ascii") as file:
        return int(file.readline().split("-")[0], 16)


def _memory_file(number: int) -> None:
    with open(f"/proc/{number}/mem", "rb", buffering=0) as file:
        file.seek(_first_mapping(number))
        if len(file.read(16)) != 16:
            raise OSError(5, "short read")


def _vm_read(number: int) -> None:
    buffer = ctypes.create_string_buffer(16)
    here = _Vector(ctypes.addressof(buffer), 16)
    there = _Vector(_first_mapping(number), 16)
    if _LIBC.process_vm_readv(number, byref(here), 1, byref(there), 1, 0) != 16:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def attack(number: int) -> dict[str, bool]:
    """Name of the way -> whether it worked."""
    ways: dict[str, Callable[[], object]] = {
        "ptrace": lambda: _attach(number),
        "memory file": lambda: _memory_file(number),
        "process_vm_readv": lambda: _vm_read(number),
        "environment": lambda: os.close(os.open(f"/proc/{number}/environ", os.O_RDONLY)),
        "descriptors": lambda: os.readlink(f"/proc/{number}/fd/0"),
        "root": lambda: os.listdir(f"/proc/{number}/root"),
        "user namespace": lambda: os.close(os.open(f"/proc/{number}/ns/user", os.O_RDONLY)),
        "network namespace": lambda: os.close(os.open(f"/proc/{number}/ns/net", os.O_RDONLY)),
    }
    found = {}
    for name, way in ways.items():
        try:
            way()
        except OSError:
            found[name] = False
        else:
            found[name] = True
    return found


def main() -> None:
    isolation.confine()
    _LIBC.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as any process is
    if sys.argv[1] == "victim":
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
    else:
        json.dump(attack(int(sys.argv[2])), sys.stdout)


if __name__ == "__main__":
    main()
