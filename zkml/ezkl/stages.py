"""Stages that import `ezkl`; each runs in a worker of its own.

EZKL's extension panics with a `BaseException`, aborts when memory ends, prints, and writes below
its home folder; none of that reaches the host.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proofml.worker.job import Job

#: More than a file system gives away for nothing at the end of a file.
_BLOCK = 1 << 12


def _ezkl(job: Job) -> Any:
    # EZKL reads lookup tables unchecked from a cache below this folder: a shared one would let a
    # stranger choose the tables that a key is derived from. Its other variables change keys too.
    for name in [name for name in os.environ if name.startswith("EZKL_")]:
        del os.environ[name]
    os.environ["EZKL_REPO_PATH"] = str(job.folder)
    import ezkl

    return ezkl


def _call(function: Callable[..., Any], *args: Any, wrote: str, **options: Any) -> None:
    """Call EZKL. A full disk, which it tells in words or not at all, becomes an `OSError`.

    It leaves what it buffers to a destructor that ignores errors, so the file that it `wrote` may
    be cut short: then nothing can be appended to it either.
    """
    try:
        result = function(*args, **options)
    except BaseException as error:  # a panic is none of `Exception`
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is not None:
            raise OSError(int(found[1]), str(error)) from error
        raise
    if result is False:
        raise RuntimeError(f"EZKL's {function.__name__} returned False")
    size = os.path.getsize(wrote)
    with open(wrote, "ab") as file:
        file.write(bytes(_BLOCK))
        file.flush()
        file.truncate(size)


def _run_args(ezkl: Any, wanted: dict[str, Any]) -> Any:
    arguments = ezkl.PyRunArgs()
    for key, value in wanted.items():
        setattr(arguments, key, tuple(value) if isinstance(value, list) else value)
    return arguments


def srs(job: Job) -> dict[str, Any]:
    """Make a development reference string of 2^k points in `srs`; its secret is not kept."""
    job.progress("generate srs")
    _call(_ezkl(job).gen_srs, "srs", job.args["logrows"], wrote="srs")
    return {}


def settings(job: Job) -> dict[str, Any]:
    """`model.onnx` and run arguments -> `settings.json`, raw as EZKL writes it."""
    ezkl = _ezkl(job)
    job.progress("settings")
    arguments = _run_args(ezkl, job.args["run_args"])
    _call(ezkl.gen_settings, "model.onnx", "settings.json", arguments, wrote="settings.json")
    return {}


def calibrate(job: Job) -> dict[str, Any]:
    """Tune `settings.json` on `data.json`; returns the run arguments that EZKL chose."""
    ezkl = _ezkl(job)
    job.progress("calibrate")
    arguments = _run_args(ezkl, job.args["run_args"])
    _call(ezkl.gen_settings, "model.onnx", "settings.json", arguments, wrote="settings.json")
    _call(
        ezkl.calibrate_settings,
        "data.json",
        "model.onnx",
        "settings.json",
        job.args["target"],
        lookup_safety_margin=job.args["lookup_margin"],
        scales=job.args["scales"] or None,
        max_logrows=job.args["max_logrows"],
        wrote="settings.json",
    )
    return {}


def setup(job: Job) -> dict[str, Any]:
    """`model.onnx`, `settings.json` and an SRS -> `circuit`, `vk` and (if wanted) `pk`."""
    ezkl = _ezkl(job)
    job.progress("compile")
    _call(ezkl.compile_circuit, "model.onnx", "circuit", "settings.json", wrote="circuit")
    job.progress("setup")
    # The proving key is computed in any case; only a prover has a use for gigabytes of it.
    target = "pk" if job.args["keep_pk"] else os.devnull
    _call(ezkl.setup, "circuit", "vk", target, job.args["srs"], wrote="vk")
    return {}


def witness(job: Job) -> dict[str, Any]:
    """`data.json` -> the fields of the witness that a statement needs."""
    ezkl = _ezkl(job)
    job.progress("witness")
    _call(ezkl.gen_witness, "data.json", job.args["circuit"], "witness.json", wrote="witness.json")
    written = json.loads(Path("witness.json").read_text())
    return {
        "outputs": written["outputs"],
        "lookup_range": [written["min_lookup_inputs"], written["max_lookup_inputs"]],
        "hashes": {
            role: (written.get(f"processed_{role}") or {}).get("poseidon_hash")
            for role in ("inputs", "params", "outputs")
        },
    }


def prove(job: Job) -> dict[str, Any]:
    """`data.json` with the Statement's words -> `proof.json`."""
    ezkl = _ezkl(job)
    job.progress("witness")
    _call(ezkl.gen_witness, "data.json", job.args["circuit"], "witness.json", wrote="witness.json")
    job.progress("prove")
    paths = ("witness.json", job.args["circuit"], job.args["pk"], "proof.json", job.args["srs"])
    _call(ezkl.prove, *paths, wrote="proof.json")
    return {}


def verify(job: Job) -> dict[str, Any]:
    """Run EZKL's verifier on `proof.json`, and on `shorter.json` where that is there.

    Returns whether each verified. EZKL says no by an exception, which is not told apart from
    other failures: everything but True is a no.
    """
    ezkl = _ezkl(job)

    def holds(path: str) -> tuple[bool, str]:
        call: Callable[..., Any] = ezkl.verify
        try:
            return call(path, "settings.json", "vk", job.args["srs"]) is True, ""
        except RuntimeError as error:
            return False, str(error)[:300]

    job.progress("verify")
    accepted, reason = holds("proof.json")
    shorter = accepted and holds("shorter.json")[0]
    return {"accepted": accepted, "reason": reason, "shorter": shorter}


def poseidon(job: Job) -> list[str]:
    """EZKL's Poseidon of each list of elements in `elements.json`."""
    ezkl = _ezkl(job)
    job.progress("hash")
    lists = json.loads((job.folder / "elements.json").read_text())
    return [ezkl.poseidon_hash(elements)[0] for elements in lists]
