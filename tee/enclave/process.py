"""`python -P -m proofml.tee.enclave`: the outer and the inner process (see `isolation`).

Arguments, in this order:

    CONTROL    descriptor of a socket to the host
    QUOTES     descriptor of a socket to the platform
    LIFELINE   descriptor of a socket on which the host is told the inner process's number; when it
               ends, so do we
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proofml.tee.enclave import isolation

if TYPE_CHECKING:
    from proofml.tee.enclave.service import Service

#: Exit status where the process could not begin its work.
BROKEN: Final = 3
#: Of a process number on the lifeline, big-endian.
NUMBER_BYTES: Final = 8


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


#: What the inner process does once it is isolated: reached isolation, socket to the host, to the
#: platform, arguments.
Work = Callable[[Mapping[str, bool], socket.socket, socket.socket, Arguments], None]


def main(values: Sequence[str], work: Work | None = None) -> int:
    """Enter the namespaces, fork, and be one of the two; returns the exit status."""
    arguments = Arguments.read(values)
    reached = isolation.enter_namespaces()
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    child = os.fork()
    if child:
        for number in (up_write, down_read, arguments.control, arguments.quotes):
            os.close(number)
        # Of the host's own process namespace: only children enter the new one.
        os.write(arguments.lifeline, child.to_bytes(NUMBER_BYTES, "big"))
        return outer(child, arguments.lifeline, up_read, down_write, own_root=reached["mount"])
    try:
        reached |= inner(arguments, up_write, down_read)
        with (
            socket.socket(fileno=arguments.control) as control,
            socket.socket(fileno=arguments.quotes) as quotes,
        ):
            (work or answer_host)(reached, control, quotes, arguments)
    except BaseException as error:  # noqa: BLE001 - the last words, and no way back to the caller
        sys.stderr.write(f"isolated process: {type(error).__name__}: {error}\n")
        return BROKEN
    return 0


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


def inner(arguments: Arguments, up: int, down: int) -> dict[str, bool]:
    """Load what the work takes, and isolate this process; returns what was reached here.

    Args:
        up, down: as in `outer`, the other ends.
    """
    isolation.die_with_parent()
    os.close(arguments.lifeline)
    reached = isolation.confine()
    isolation.limit(arguments.memory or None)
    # Only now: these bring native code, which may start threads.
    from proofml.tee.enclave import remote, stages  # noqa: F401
    from proofml.tee.enclave.rehearsal import rehearse

    rehearse()
    log, null = os.dup(2), os.open("/dev/null", os.O_RDWR)
    faulthandler.enable(log)
    isolation.close_all_but({0, 1, 2, log, null, up, down, arguments.control, arguments.quotes})
    reached["empty-root"] = isolate_root(up, down)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return reached


def isolate_root(up: int, down: int) -> bool:
    """Have the outer process take the files away; whether there is nothing left to see."""
    os.chdir("/")  # who stands elsewhere is not moved to the new root
    os.write(up, b"\x01")
    answer = os.read(down, 1)
    os.close(down)
    if not answer:
        raise EOFError("the outer process has ended")
    return answer == b"\x01" and not os.listdir("/")


def answer_host(
    reached: Mapping[str, bool],
    control: socket.socket,
    quotes: socket.socket,
    arguments: Arguments,
) -> None:
    """One reply for each request, until the host closes or sends what is no request."""
    from proofml.tee.enclave import frames, messages

    answer = service(reached, quotes, arguments).answer
    while True:
        try:
            request = frames.read(control, arguments.frame)
        except frames.Closed:
            return
        except frames.FrameError as error:
            frames.write(control, messages.failure(error))
            return
        reply = answer(request)
        try:
            frames.write(control, reply)
        except frames.Closed:
            return
        except frames.FrameError as error:
            frames.write(control, messages.failure(error))


def service(reached: Mapping[str, bool], quotes: socket.socket, arguments: Arguments) -> Service:
    """What answers requests in this process."""
    from proofml.tee.enclave import stages
    from proofml.tee.enclave.remote import RemoteQuoter
    from proofml.tee.enclave.service import Service
    from proofml.tee.platform import Platform

    quoter = RemoteQuoter(Platform(arguments.platform), quotes)
    return Service(reached, quoter, stages.Runner, stages.runtime())
