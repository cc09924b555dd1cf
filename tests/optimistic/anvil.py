"""An Ethereum node for tests: anvil, of the npm package that the contracts are built with.

Each node is a process of its own on a free port, with a chain that begins empty.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from proofml.errors import ProofmlError
from proofml.optimistic.evm_rpc import Node

CONTRACTS = Path(__file__).resolve().parents[2] / "optimistic" / "contracts"
PACKAGES = CONTRACTS / "node_modules" / "@foundry-rs"
INSTALLER = CONTRACTS.parents[1] / "tools" / "contracts.sh"
CHAIN_ID = 31337
#: Wei that each account of tests begins with.
RICH = 10**24
GAS = 16_000_000
_START = 30.0


def binary() -> Path:
    """The program, which npm installs for this platform."""
    with FileLock(Path(tempfile.gettempdir()) / "proofml-contracts-npm.lock"):
        if not _installed():
            subprocess.run([INSTALLER, "install"], check=True, timeout=600)
    found = _installed()
    assert found, f"{PACKAGES}: no anvil for this platform"
    return found[0]


def _installed() -> list[Path]:
    return sorted(PACKAGES.glob("anvil-*/bin/anvil*"))


@dataclass
class Anvil:
    """A node that runs.

    Attributes:
        url: of its JSON-RPC.
        node: a client of it.
    """

    url: str
    node: Node
    process: subprocess.Popen[bytes]

    def rpc(self, method: str, *params: Any) -> Any:
        return self.node.ask(method, *params, most=1 << 26)

    # ------------------------------------------------------------ time
    def at(self, time: int) -> None:
        """Mine a block of this time; later ones have it too, until the next call."""
        self.rpc("evm_setNextBlockTimestamp", time)
        self.rpc("evm_mine")

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    @property
    def height(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    @property
    def time(self) -> int:
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    # ------------------------------------------------------------ accounts
    def send(self, sender: str, to: str | None, data: bytes, value: int = 0) -> dict[str, Any]:
        """The receipt of a transaction of an account whose key nobody needs."""
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value), "gas": hex(GAS)}
        if to is not None:
            call["to"] = to
        number = self.rpc("eth_sendTransaction", call)
        until = time.monotonic() + _START
        while time.monotonic() < until:
            found = self.rpc("eth_getTransactionReceipt", number)
            if found is not None:
                return dict(found)
            time.sleep(0.001)
        raise AssertionError("the transaction is not mined")

    def fund(self, account: str, wei: int = RICH) -> None:
        self.rpc("anvil_setBalance", account, hex(wei))


@contextmanager
def running(*arguments: str) -> Iterator[Anvil]:
    """A new node with these arguments; it ends with the block."""
    program = binary()
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        process = subprocess.Popen(
            [program, "--port", str(port), "--silent", "--chain-id", str(CHAIN_ID), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        node = Node(url, timeout=300)
        try:
            if _answers(node, process):
                yield Anvil(url, node, process)
                return
        finally:
            node.close()
            process.terminate()
            process.wait(10)
    raise AssertionError("anvil does not start")


def _answers(node: Node, process: subprocess.Popen[bytes]) -> bool:
    """Whether it came up; somebody else may have taken the port meanwhile."""
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        try:
            node.ask("eth_chainId")
        except ProofmlError:
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False
