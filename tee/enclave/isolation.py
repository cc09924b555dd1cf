"""What a process takes away from itself on Linux, and what of it the kernel granted.

Two processes work together, because threads that a library starts while it is imported keep what
the process could do at that moment:

    outer   enters new namespaces (`enter_namespaces`), forks, and later takes the file system
            away from the inner one (`empty_root`)
    inner   gives up every capability (`confine`) and only then imports anything of others

No program is executed after the namespaces are entered: the kernel then holds whoever wants to
trace the inner process, or read its memory, against the *host's* user namespace, where the owner of
the new one has no special rights (`ptrace(2)`, "Ptrace access mode checking").
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Collection
from ctypes import POINTER, Structure, byref, c_int, c_uint32
from typing import Any, Final

#: Names in the configuration (`Configuration.isolation`), with what each means.
ISOLATION: Final = {
    "user": "a user namespace of its own: no rights outside of it",
    "network": "a network namespace of its own: no interface but an unused loopback",
    "pid": "a process namespace of its own: no other process can be named",
    "mount": "a mount namespace of its own",
    "ipc": "an IPC namespace of its own",
    "uts": "a host name of its own",
    "empty-root": "a root directory without files that cannot be written to",
    "no-namespaces": "no further user namespace, in which there would be capabilities again",
    "no-capabilities": "no capability in any set",
    "no-new-privileges": "executing a file cannot add privileges",
    "undumpable": "no core dump; no tracing and no reading of its memory by the same user",
}

# From <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>, <linux/capability.h>.
_CLONE: Final = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 1, 3, 4
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 23, 24, 28
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 39, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
#: A set-user-id file, or user 0, gives no capabilities; all bits locked.
_SECUREBITS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_USER_NAMESPACES = "/proc/sys/user/max_user_namespaces"
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}

#: Address space that an interpreter with native libraries maps without using it.
ADDRESS_SLACK: Final = 6 << 30
#: Largest file that the process may write: its log.
MAX_FILE_BYTES: Final = 1 << 16
MAX_FILES: Final = 64
HOST_NAME: Final = "enclave"


class _CapHeader(Structure):
    _fields_ = (("version", c_uint32), ("pid", c_int))


class _CapData(Structure):
    _fields_ = (("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32))


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether this system has what the two processes are built upon."""
    return sys.platform == "linux"


# -- the outer process ----------------------------------------------------------------------------


def enter_namespaces() -> dict[str, bool]:
    """Unshare each namespace that the kernel grants; the next child is the first in its own.

    The calling process must have one thread.

    Returns:
        Name of the namespace -> whether it is a new one; also `no-namespaces`.
    """
    libc = _libc()
    user, group = os.getuid(), os.getgid()
    everything = 0
    for flag in _CLONE.values():
        everything |= flag
    if libc.unshare(everything) == 0:
        reached = dict.fromkeys(_CLONE, True)
    else:
        # The user namespace first: it grants the right to the others.
        names = sorted(_CLONE, key=lambda name: name != "user")
        reached = {name: libc.unshare(_CLONE[name]) == 0 for name in names}
    if reached["user"]:
        # A process may map its own user and group; without these it could make no directory.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            _tell(f"/proc/self/{name}", text)
    # Counted in each user namespace: the host may have as many as before.
    reached["no-namespaces"] = reached["user"] and _tell(_MAX_USER_NAMESPACES, "0")
    if reached["uts"]:
        try:
            socket.sethostname(HOST_NAME)
        except OSError:
            reached["uts"] = False
    return reached


def _tell(path: str, text: str) -> bool:
    """Whether the kernel takes it; what rests on it fails otherwise, and that is recorded."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        return False
    return True


def empty_root() -> bool:
    """Give every process of this mount namespace an empty root that cannot be written to.

    `pivot_root(2)` moves all processes whose root or working directory is the old root; the inner
    one has to stand there. Returns False where the kernel refuses, and then nothing has changed
    for the inner process.
    """
    libc = _libc()
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None or libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        return False
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    place = next((path for path in ("/tmp", "/mnt", "/proc") if os.path.isdir(path)), None)
    if place is None:
        return False
    options = b"size=4k,nr_inodes=1,mode=0555"
    if libc.mount(b"none", place.encode("ascii"), b"tmpfs", flags, options) != 0:
        return False
    os.chdir(place)
    if libc.syscall(number, b".", b".") != 0:
        libc.umount2(place.encode("ascii"), _MNT_DETACH)
        return False
    # The old root now lies above the new one, at the same place; taken off, it is out of reach.
    if libc.umount2(b".", _MNT_DETACH) != 0:
        return False
    os.chdir("/")
    return bool(libc.mount(None, b"/", None, _MS_REMOUNT | _MS_RDONLY | flags, None) == 0)


def die_with_parent() -> None:
    """Ask for SIGKILL when the thread that forked this process ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# -- both -----------------------------------------------------------------------------------------


def confine() -> dict[str, bool]:
    """Give up capabilities and privileges for good, and close the memory to other processes.

    To be called while the process has one thread: the others would keep what they have.

    Returns:
        Name -> whether it was reached, read back from the kernel.
    """
    libc = _libc()
    _limit(resource.RLIMIT_CORE, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    capability = 0
    while libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    data = (_CapData * 2)()
    libc.capset(byref(_CapHeader(_CAPABILITY_VERSION_3, 0)), data)
    # Last: a change of credentials may set it anew.
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return {
        "no-capabilities": not capabilities(),
        "no-new-privileges": libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        "undumpable": libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 and not _traced(),
    }


def _traced() -> bool:
    """Whether somebody traces this process already; true too where the kernel does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return "TracerPid:\t0\n" not in file.readlines()
    except OSError:
        return True


def capabilities() -> bool:
    """Whether the calling thread has a capability in its effective, permitted or inheritable set.

    True too where the kernel does not say.
    """
    libc = _libc()
    libc.capget.argtypes = [POINTER(_CapHeader), POINTER(_CapData)]
    data = (_CapData * 2)()
    if libc.capget(byref(_CapHeader(_CAPABILITY_VERSION_3, 0)), data) != 0:
        return True
    return any(word.effective | word.permitted | word.inheritable for word in data)


def limit(memory: int | None) -> None:
    """Bounds on address space (`memory` bytes and a slack), written files and descriptors."""
    if memory is not None:
        _limit(resource.RLIMIT_AS, memory + ADDRESS_SLACK)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails with EFBIG
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, MAX_FILES)


def _limit(kind: int, size: int) -> None:
    """Lower a limit, or keep the one that already holds where it is tighter."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(kind, (size, size))


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with contextlib.suppress(OSError):  # the one by which the folder was read
                os.close(int(name))
