"""The host, and a client with a secret input, each in a process of its own.

    memory_parties.py host SOCKET           serves; prints the numbers of host and isolated process
    memory_parties.py client SOCKET KIND SEED   sends an input, `sealed` or `plain`, over and over,
                                            until a line comes in; prints one after each answer

The input follows from the seed, so that whoever looks for it can make it too, and it is never
written anywhere.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import numpy as np

# Run as a file with -P: the folder of the tests is not looked at by itself.
sys.path.insert(0, str(Path(__file__).parents[2]))

from proofml.tee.binding import Mode
from proofml.tee.enclave.client import Client
from proofml.tee.enclave.server import Server, stopped_by_signals
from proofml.tee.sealing import open_outputs, seal_inputs
from tests.tee.memory_marks import SIZE, marks, scaled, secret_input

if __name__ == "__main__":
    if sys.argv[1] == "host":
        from tests.tee.enclave_cases import started

        with started(scaled(), Mode.SESSION) as host:
            server = Server(host, Path(sys.argv[2]))
            with stopped_by_signals(server):
                sys.stdout.write(f"{os.getpid()} {host.process_id}\n")
                sys.stdout.flush()
                server.run()
    else:
        path, kind, seed = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
        inputs = {"x": secret_input(seed)}
        assert inputs["x"].shape == (SIZE,)
        with Client(path) as client:
            session = client.session.record()
            turn = 0
            while not select.select([sys.stdin], [], [], 0)[0]:
                if kind == "sealed":
                    sealed, secret = seal_inputs(inputs, session)
                    found = client.infer(sealed, since=turn)
                    outputs = open_outputs(found.sealed_outputs or b"", secret, found.statement)
                else:
                    outputs = {"y": client.infer(inputs, since=turn).tensors["output.0"]}
                turn += 1
                assert np.array_equal(outputs["y"], marks(seed).output)
                sys.stdout.write("answered\n")
                sys.stdout.flush()
