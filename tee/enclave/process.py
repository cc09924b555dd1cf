"""`python -P -m proofml.tee.enclave`: the outer and the inner process (see `isolation`).

Arguments, in this order:

    CONTROL    descriptor of a socket to the host
    QUOTES     descriptor of a socket to the platform
    LIFELINE   descriptor of a pipe of which the host holds the other end: it ends, so do we
    PLATFORM   name of the platform
    MEMORY     bytes, 0 for no limit
    FRAME      bytes of the largest request

Standard output and error are the host's log. Once the inner process is isolated it writes nothing
there but the lines of code in which a fatal error happened: what native code prints may tell of
inputs.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proofml.tee.enclave import isolation

if TYPE_CHECKING:
    from proofml.tee.enclave.service import Service

#: Exit status where the process could not begin its work.
BROKEN: Final = 3


@dataclass(frozen=True)
class Arguments:
    control: int
    quotes: int
    lifeline: int
    platform: str
    memory: int
    frame: int

    def to_list(self) -> list[str]:
        return [str(value) for value in vars(self).values()]

    @classmethod
    def read(cls, values: Sequence[str]) -> Arguments:
        control, quotes, lifeline, platform, memory, frame = values
        return cls(int(control), int(quotes), int(lifeline), platform, int(memory), int(frame))


def main(values: Sequence[str]) -> int:
    """Enter the namespaces, fork, and be one of the two; returns the exit status."""
    arguments = Arguments.read(values)
    namespaces = isolation.enter_namespaces()
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    child = os.fork()
    if child:
        for number in (up_write, down_read, arguments.control, arguments.quotes):
            os.close(number)
        return outer(child, arguments.lifeline, up_read, down_write, own_root=namespaces["mount"])
    try:
        return inner(arguments, namespaces, up_write, down_read)
    except BaseException as error:  # noqa: BLE001 - the last words, and no way back to `main`
        sys.stderr.write(f"isolated process: {type(error).__name__}: {error}\n")
        return BROKEN


# -- the outer process ----------------------------------------------------------------------------


def outer(child: int, lifeline: int, up: int, down: int, *, own_root: bool) -> int:
    """Take the files away once the inner process says that it is ready; then wait for an end.

    Args:
        up: a byte comes when the inner process is ready, and the end of file when it ends.
        down: one byte is sent: 1 where its root is empty now.
    """
    poll = select.poll()
    for number in (up, lifeline):
        poll.register(number, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if lifeline in ready:
            os.kill(child, signal.SIGKILL)
            break
        if not os.read(up, 1):
            break
        emptied = own_root and isolation.empty_root()
        isolation.confine()
        os.write(down, bytes([emptied]))
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    # The host reads how it ended from how we end.
    number = os.WTERMSIG(status)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return BROKEN


# -- the inner process ----------------------------------------------------------------------------


def inner(arguments: Arguments, namespaces: Mapping[str, bool], up: int, down: int) -> int:
    """Isolate this process, then answer requests until the host is gone."""
    isolation.die_with_parent()
    os.close(arguments.lifeline)
    reached = dict(namespaces) | isolation.confine()
    isolation.limit(arguments.memory or None)
    # Only now: these bring native code, which may start threads.
    from proofml.tee.enclave import stages
    from proofml.tee.enclave.rehearsal import rehearse
    from proofml.tee.enclave.remote import RemoteQuoter
    from proofml.tee.enclave.service import Service
    from proofml.tee.platform import Platform

    rehearse()
    log, null = os.dup(2), os.open("/dev/null", os.O_RDWR)
    faulthandler.enable(log)
    isolation.close_all_but({0, 1, 2, log, null, up, down, arguments.control, arguments.quotes})
    reached["empty-root"] = isolate_root(up, down)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    with (
        socket.socket(fileno=arguments.control) as control,
        socket.socket(fileno=arguments.quotes) as quotes,
    ):
        quoter = RemoteQuoter(Platform(arguments.platform), quotes)
        service = Service(reached, quoter, stages.Runner, stages.runtime())
        serve(service, control, arguments.frame)
    return 0


def isolate_root(up: int, down: int) -> bool:
    """Have the outer process take the files away; whether there is nothing left to see."""
    os.chdir("/")  # who stands elsewhere is not moved to the new root
    os.write(up, b"\x01")
    answer = os.read(down, 1)
    os.close(down)
    if not answer:
        raise EOFError("the outer process has ended")
    return answer == b"\x01" and not os.listdir("/")


def serve(service: Service, control: socket.socket, limit: int) -> None:
    """One reply for each request, until the host closes or sends what is no request."""
    from proofml.tee.enclave import frames, messages

    while True:
        try:
            request = frames.read(control, limit)
        except frames.Closed:
            return
        except frames.FrameError as error:
            frames.write(control, messages.failure(error))
            return
        reply = service.answer(request)
        try:
            frames.write(control, reply)
        except frames.Closed:
            return
        except frames.FrameError as error:
            frames.write(control, messages.failure(error))
