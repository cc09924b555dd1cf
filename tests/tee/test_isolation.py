"""What the isolated process cannot reach, asserted from inside and from outside of it.

What this kernel does not grant is recorded as not reached and skipped here; the last tests look at
a process to which nothing was granted.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import BackendFailed
from proofml.tee.binding import Mode
from proofml.tee.config import NAMESPACES, Configuration
from proofml.tee.enclave import isolation
from proofml.tee.enclave.child import Child
from proofml.tee.enclave.frames import Frame
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.process import Arguments
from proofml.worker.limits import Limits, silent

from .enclave_cases import PlainQuoter, linear, started

HERE = Path(__file__).parent
PROBE = HERE / "isolation_probe.py"
ATTACKER = HERE / "attacker.py"
MEMORY = 1 << 30
_IPC_PRIVATE_KEY = 0x70726F6F
_IPC_CREAT, _IPC_RMID = 0o1000, 0


def probe(work: str) -> Child:
    limits = Limits(memory=MEMORY, seconds=60)
    return Child.spawn(PlainQuoter(), limits, silent, program=(str(PROBE), work))


def ask(child: Child, body: dict[str, Any]) -> dict[str, Any]:
    with child.speaking(5):
        return dict(child.ask(Frame(body), 30, "probe").body)


@pytest.fixture(scope="module")
def host_things() -> Iterator[dict[str, Any]]:
    """What the host has and the process should not reach; each can be reached from here."""
    libc = ctypes.CDLL(None, use_errno=True)
    shared = libc.shmget(_IPC_PRIVATE_KEY, 4096, _IPC_CREAT | 0o600)
    assert shared >= 0
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as ip,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as path,
    ):
        ip.bind(("127.0.0.1", 0))
        name = f"proofml-test-{os.getpid()}"
        abstract.bind("\0" + name)
        path.bind(f"{folder}/socket")
        for listener in (ip, abstract, path):
            listener.listen()
        yield {
            "host": os.getpid(),
            "port": ip.getsockname()[1],
            "abstract": name,
            "path": f"{folder}/socket",
            "key": _IPC_PRIVATE_KEY,
            "file": sys.executable,
        }
    libc.shmctl(shared, _IPC_RMID, None)


@pytest.fixture(scope="module")
def inside(host_things: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Facts as the isolated process sees them, and under `reached` what it reached."""
    child = probe("tell")
    found = ask(child, host_things)
    yield {**found["facts"], "reached": found["reached"], "forbidden": found.get("forbidden")}
    child.close()


def needs(inside: dict[str, Any], *names: str) -> None:
    missing = [name for name in names if not inside["reached"][name]]
    if missing:
        pytest.skip(f"not granted by this kernel: {', '.join(missing)}")


def test_the_host_itself_reaches_all_of_it(host_things: dict[str, Any]) -> None:
    """Else the next tests would show nothing."""
    code = (
        "import sys, json\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import isolation_probe\n"
        "print(json.dumps(isolation_probe.facts(json.loads(sys.argv[2]))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(HERE), json.dumps(host_things)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tempfile.gettempdir(),
    )
    found = json.loads(done.stdout)
    for name in ("kill_host", "connect_ip", "connect_abstract", "connect_path", "shared_memory"):
        assert found[name] == "done", name
    assert found["read_host"] == "done"
    assert found["pid"] > 1
    assert found["root"] != []
    assert found["dumpable"] == 1
    assert found["no_new_privileges"] == 0


def test_no_interface_but_an_unused_loopback(inside: dict[str, Any]) -> None:
    needs(inside, "network")
    assert inside["interfaces"] == {"lo": False}
    assert inside["connect_ip"] in ("ENETUNREACH", "EADDRNOTAVAIL")
    assert inside["connect_abstract"] == "ECONNREFUSED"


def test_no_other_process_has_a_number(inside: dict[str, Any]) -> None:
    needs(inside, "pid")
    assert inside["pid"] == 1
    assert inside["parent"] == 0
    assert inside["kill_host"] == "ESRCH"


def test_no_files(inside: dict[str, Any]) -> None:
    needs(inside, "mount", "empty-root")
    assert inside["root"] == []
    assert inside["read_host"] == "ENOENT"
    assert inside["connect_path"] == "ENOENT"


def test_no_shared_memory(inside: dict[str, Any]) -> None:
    needs(inside, "ipc")
    assert inside["shared_memory"] == "ENOENT"


def test_no_host_name(inside: dict[str, Any]) -> None:
    needs(inside, "uts")
    assert inside["host_name"] == isolation.HOST_NAME
    assert inside["host_name"] != socket.gethostname()


def test_no_capabilities(inside: dict[str, Any]) -> None:
    needs(inside, "no-capabilities", "no-new-privileges")
    assert inside["capabilities"] is False
    assert inside["capabilities_of_threads"] is False
    assert inside["bounding"] == []
    assert inside["no_new_privileges"] == 1


def test_what_it_tries_is_refused(inside: dict[str, Any]) -> None:
    needs(inside, *isolation.ISOLATION)
    assert inside["forbidden"] == {
        "create": "EROFS",
        "make_folder": "EROFS",
        "mount": "EPERM",
        "set_host_name": "EPERM",
        "chroot": "EPERM",
        "new_user_namespace": "ENOSPC",
        "trace_from_child": "EPERM",
    }


def test_undumpable(inside: dict[str, Any]) -> None:
    needs(inside, "undumpable")
    assert inside["dumpable"] == 0


def test_limits(inside: dict[str, Any]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = MEMORY + isolation.ADDRESS_SLACK
    assert inside["core"] == [0, 0]
    assert inside["file_size"] == [isolation.MAX_FILE_BYTES] * 2
    assert inside["files"] == [isolation.MAX_FILES] * 2
    assert inside["address_space"] == (
        wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    )


def test_nothing_of_the_hosts_environment(inside: dict[str, Any]) -> None:
    passed = {"PYTHONPATH", "LD_LIBRARY_PATH"}
    assert set(inside["environment"]) - passed == {
        "HOME",
        "LANG",
        "MALLOC_ARENA_MAX",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "ORT_DISABLE_TELEMETRY",
        "PYTHONDONTWRITEBYTECODE",
    }


def test_only_its_own_descriptors(inside: dict[str, Any]) -> None:
    """Null in the place of standard ones; two sockets; the log; the pipe that tells of its end."""
    found = inside["descriptors"]
    assert [found.pop(name) for name in ("0", "1", "2")] == ["null"] * 3
    assert sorted(found.values()) == ["file", "pipe", "socket", "socket"]


def test_every_name_is_recorded(inside: dict[str, Any]) -> None:
    assert set(inside["reached"]) == set(isolation.ISOLATION)
    assert set(NAMESPACES) <= set(isolation.ISOLATION)


# -- from outside ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def enclave() -> Iterator[Host]:
    with started(linear(), Mode.SESSION) as host:
        yield host


def status(number: int) -> dict[str, str]:
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_real_process_has_what_it_claims(enclave: Host) -> None:
    claimed = Configuration.read(enclave.config).isolation
    number = enclave.process_id
    found = status(number)
    if claimed["no-capabilities"]:
        for task in Path(f"/proc/{number}/task").iterdir():
            seen = status(int(task.name))
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(seen[name], 16) == 0, (task.name, name)
    assert found["NoNewPrivs"] == str(int(claimed["no-new-privileges"]))
    assert (found["NSpid"].split()[-1] == "1") == claimed["pid"]
    try:
        mine = {path.name: os.readlink(path) for path in Path("/proc/self/ns").iterdir()}
        theirs = {p.name: os.readlink(p) for p in Path(f"/proc/{number}/ns").iterdir()}
    except PermissionError:
        assert os.geteuid() != 0
        return  # as it should be: only root may look
    names = {"user": "user", "network": "net", "pid": "pid", "mount": "mnt", "ipc": "ipc"}
    for name, kind in {**names, "uts": "uts"}.items():
        assert (mine[kind] != theirs[kind]) == claimed[name], name


def attacked(number: int) -> dict[str, bool]:
    done = subprocess.run(
        [sys.executable, "-P", str(ATTACKER), "attack", str(number)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_the_attacker_can_attack_an_ordinary_process() -> None:
    """Else the next test would show nothing."""
    with subprocess.Popen(
        [sys.executable, "-P", str(ATTACKER), "victim"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        found = attacked(victim.pid)
        victim.kill()
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if scope.exists() and scope.read_text().strip() != "0":
        found = {name: worked for name, worked in found.items() if name == "environment"}
    assert all(found.values()), found


def test_the_same_user_can_neither_trace_nor_read(enclave: Host) -> None:
    if "undumpable" in enclave.missing_isolation:
        pytest.skip("not granted by this kernel: undumpable")
    found = attacked(enclave.process_id)
    assert not any(found.values()), found
    assert enclave.alive()


_TRACED = """
import os, sys
from proofml.tee.enclave import isolation
# PTRACE_TRACEME: by the one that started us
if sys.argv[1] == "traced" and isolation._libc().ptrace(0, 0, 0, 0) != 0:
    sys.exit("not allowed")
print(isolation.confine()["undumpable"], flush=True)
"""


def test_a_process_that_is_traced_already_says_so() -> None:
    """Whoever traces it at that moment goes on reading its memory."""
    said = {
        how: subprocess.run(
            [sys.executable, "-c", _TRACED, how], capture_output=True, text=True, check=False
        )
        for how in ("free", "traced")
    }
    if "not allowed" in said["traced"].stderr:
        pytest.skip("this kernel lets nobody trace")
    assert {how: done.stdout for how, done in said.items()} == {
        "free": "True\n",
        "traced": "False\n",
    }


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "words"),
    [("segfault", "SIGSEGV"), ("abort", "SIG"), ("exit", "status 7"), ("raise", "status 3")],
)
def test_how_it_ended_is_told_and_not_what_it_saw(work: str, words: str) -> None:
    child = probe(work)
    with pytest.raises(BackendFailed, match=words) as caught:
        ask(child, {})
    assert "123457" not in str(caught.value)
    child.close()


def test_a_program_that_does_not_start_is_told() -> None:
    child = Child.spawn(
        PlainQuoter(), Limits(), silent, program=("-c", "import sys; sys.exit('no such thing')")
    )
    with pytest.raises(BackendFailed, match="no such thing"):
        ask(child, {})
    child.close()


def test_arguments_survive_a_command_line() -> None:
    arguments = Arguments(3, 4, 5, "tdx", 0, 1000)
    assert Arguments.read(arguments.to_list()) == arguments


# -- a kernel that grants nothing -----------------------------------------------------------------

_WEAK = """
import os, sys
from proofml.tee.enclave import isolation
assert isolation.enter_namespaces()["user"], "what follows is for a namespace of its own"
for kind in ("user", "net", "mnt", "pid", "ipc", "uts"):
    with open(f"/proc/sys/user/max_{kind}_namespaces", "w") as file:
        file.write("0")
if os.fork():
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
isolation.confine()
isolation._libc().prctl(4, 1, 0, 0, 0)
sys.path.insert(0, os.getcwd())
from tests.tee.enclave_cases import linear, started, values
from proofml.tee.binding import Mode
with started(linear(), Mode.SESSION) as host:
    host.infer(values())
    print(*host.missing_isolation)
    sys.stdout.flush()
os._exit(0)
"""


def test_what_is_not_granted_is_measured_as_missing() -> None:
    """Inside a user namespace that may have no others, as in many containers."""
    if isolation.available() and not _can_unshare():
        pytest.skip("this kernel grants no namespaces at all, so they cannot be forbidden here")
    done = subprocess.run(
        [sys.executable, "-c", _WEAK], capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert done.returncode == 0, done.stderr
    missing = set(done.stdout.split())
    assert missing == {*NAMESPACES, "uts", "empty-root", "no-namespaces"}


def _can_unshare() -> bool:
    code = "from proofml.tee.enclave import isolation; print(isolation.enter_namespaces()['user'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() == "True"
