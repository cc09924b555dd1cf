"""Stands in the place of the enclave's own work, isolated in exactly the same way.

Run as `isolation_probe.py WORK ARGUMENTS...` (see `proofml.tee.enclave.process`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from proofml.tee.enclave import frames, isolation, process
from proofml.tee.enclave.frames import Frame

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_CLONE_NEWUSER = 0x10000000
_PTRACE_ATTACH = 16
_LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(call: Callable[[], object]) -> str:
    """`done`, or the name of the error."""
    try:
        call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def system_call(name: str, *arguments: Any) -> Callable[[], object]:
    def call() -> object:
        if getattr(_LIBC, name)(*arguments) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return None

    return call


def connecting(family: int, address: Any) -> Callable[[], object]:
    def call() -> object:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            probe.connect(address)
        return None

    return call


def in_child(call: Callable[[], object]) -> str:
    """`attempt` in a fork, so that this process keeps what it has."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, attempt(call).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    found = os.read(read, 100).decode()
    os.close(read)
    return found


def interfaces() -> dict[str, bool]:
    """Name -> whether it is up."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("16sH14x", name.encode(), 0)
            flags = struct.unpack("16sH14x", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
            found[name] = bool(flags & _IFF_UP)
    return found


def descriptors() -> dict[str, str]:
    """Open ones below 256 -> what they are."""
    found = {}
    null = os.makedev(1, 3)
    for number in range(256):
        try:
            state = os.fstat(number)
        except OSError:
            continue
        kind = (state.st_mode >> 12) & 0o17
        names = {0o14: "socket", 0o1: "pipe", 0o10: "file"}
        found[str(number)] = "null" if state.st_rdev == null else names.get(kind, oct(kind))
    return found


def thread_capabilities() -> bool:
    """Whether a new thread has any."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(isolation.capabilities()))
    thread.start()
    thread.join()
    return found[0]


def facts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What can be seen and reached from here; `asked` names things of the host. Changes nothing."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "interfaces": interfaces(),
        "kill_host": attempt(lambda: os.kill(asked["host"], 0)),
        "connect_ip": attempt(connecting(socket.AF_INET, ("127.0.0.1", asked["port"]))),
        "connect_abstract": attempt(connecting(socket.AF_UNIX, "\0" + asked["abstract"])),
        "connect_path": attempt(connecting(socket.AF_UNIX, asked["path"])),
        "shared_memory": attempt(system_call("shmget", asked["key"], 0, 0)),
        "root": os.listdir("/"),
        "read_host": attempt(lambda: os.close(os.open(asked["file"], os.O_RDONLY))),
        "capabilities": isolation.capabilities(),
        "capabilities_of_threads": thread_capabilities(),
        "bounding": [number for number in range(64) if _LIBC.prctl(23, number, 0, 0, 0) == 1],
        "no_new_privileges": _LIBC.prctl(39, 0, 0, 0, 0),
        "dumpable": _LIBC.prctl(3, 0, 0, 0, 0),
        "host_name": socket.gethostname(),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0],
        "environment": sorted(os.environ),
        "descriptors": descriptors(),
    }


def forbidden() -> dict[str, str]:
    """What must not work. Where it did, it would be felt: call it in a whole isolation only."""
    assert os.getpid() == 1
    assert os.listdir("/") == []
    return {
        "create": attempt(lambda: os.close(os.open("/file", os.O_CREAT | os.O_WRONLY))),
        "make_folder": attempt(lambda: os.mkdir("/folder")),
        "mount": attempt(system_call("mount", b"none", b"/", b"tmpfs", 0, None)),
        "set_host_name": attempt(lambda: socket.sethostname("other")),
        "chroot": attempt(lambda: os.chroot("/")),
        "new_user_namespace": in_child(system_call("unshare", _CLONE_NEWUSER)),
        "trace_from_child": in_child(system_call("ptrace", _PTRACE_ATTACH, 1, 0, 0)),
    }


def tell(reached: Mapping[str, bool], control: socket.socket, *_: object) -> None:
    """Answer each request with the facts."""
    while True:
        try:
            request = frames.read(control, 1000)
        except frames.Closed:
            return
        found: dict[str, Any] = {"reached": dict(reached), "facts": facts(request.body)}
        if all(reached.values()):
            found["forbidden"] = forbidden()
        frames.write(control, Frame(found))


def work_and_tell(
    reached: Mapping[str, bool],
    control: socket.socket,
    quotes: socket.socket,
    arguments: process.Arguments,
) -> None:
    """The enclave's own work; asked for `modules`, those that are loaded."""
    service = process.service(reached, quotes, arguments)
    while True:
        try:
            request = frames.read(control, arguments.frame)
        except frames.Closed:
            return
        modules = Frame({"ok": True, "modules": sorted(sys.modules)})
        asked = request.body.get("op") == "modules"
        frames.write(control, modules if asked else service.answer(request))


def crash(how: Callable[[], object]) -> Callable[..., None]:
    def work(reached: Mapping[str, bool], control: socket.socket, *_: object) -> None:
        frames.read(control, 1000)
        how()

    return work


def speak_and_abort() -> None:
    """What native code prints about its inputs must not reach the host."""
    os.write(2, b"secret input 123457\n")
    os.write(1, b"secret input 123457\n")
    sys.stderr.write("secret input 123457\n")
    sys.stderr.flush()
    os.abort()


WORKS: dict[str, Any] = {
    "tell": tell,
    "work": work_and_tell,
    "segfault": crash(lambda: ctypes.string_at(0)),
    "abort": crash(speak_and_abort),
    "exit": crash(lambda: os._exit(7)),
    "raise": crash(lambda: 1 // 0),
}

if __name__ == "__main__":
    code = process.main(sys.argv[2:], WORKS[sys.argv[1]])
    os._exit(code)
