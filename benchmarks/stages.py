"""Stages of benchmarks that call EZKL; each runs in a worker, as EZKL's own stages do.

EZKL keeps no key in memory between calls: each proof and each verification reads its key and its
reference string from a file. What it logs tells the proof alone from the reading, so both are
reported, and a comparison can take the smaller one.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from typing import Any

from proofml.benchmarks.process import own_memory
from proofml.worker.job import Job
from proofml.zkml.ezkl import stages

#: Seconds and milliseconds, without leading zeros: "verify took 0.6" are 6 ms.
_TOOK = re.compile(r"(proof|verify) took (\d+)\.(\d+)$")


class _Log(logging.Handler):
    """The seconds that EZKL itself logs for each proof and verification."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: dict[str, list[float]] = {"proof": [], "verify": []}

    def emit(self, record: logging.LogRecord) -> None:
        found = _TOOK.search(record.getMessage())
        if found:
            self.seconds[found[1]].append(int(found[2]) + int(found[3]) / 1000)


def prove(job: Job) -> dict[str, Any]:
    """`data.json` -> `proof.json`, `repeat` times: seconds of each, and this process's peak.

    `witness`: making the witness; `call`: witness and proof, keys read; `proof`: the proof alone,
    as EZKL logs it; `cpu`: processor time of all threads in `call`, which depends less on what
    else the machine does.
    """
    log = _Log()
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.INFO)
    stages.witness(job)  # imports EZKL
    found: dict[str, list[float]] = {"witness": [], "call": [], "cpu": []}
    for _ in range(job.args["repeat"]):
        for name, stage in (("witness", stages.witness), ("call", stages.prove)):
            started, used = time.perf_counter(), time.process_time()
            stage(job)
            found[name].append(time.perf_counter() - started)
        found["cpu"].append(time.process_time() - used)
    return {**found, "proof": log.seconds["proof"], "peak": own_memory()[0]}


def verify(job: Job) -> dict[str, Any]:
    """`proof.json` `repeat` times; raises where it does not verify.

    `call`: reference string and key read; `verify`: as EZKL logs it.
    """
    log = _Log()
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.INFO)
    shutil.copyfile("proof.json", "shorter.json")  # the stage verifies two files
    calls = []
    for _ in range(job.args["repeat"] + 1):
        started = time.perf_counter()
        if not stages.verify(job)["shorter"]:
            raise RuntimeError("EZKL made a proof that it refuses")
        calls.append((time.perf_counter() - started) / 2)
    return {"call": calls[1:], "verify": log.seconds["verify"], "peak": own_memory()[0]}
