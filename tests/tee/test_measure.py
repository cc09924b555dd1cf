"""The measured code is the code that runs, and nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from proofml.canonical import loads, sha256
from proofml.errors import UsageError
from proofml.tee.binding import Mode
from proofml.tee.enclave import messages
from proofml.tee.enclave.child import Child
from proofml.tee.enclave.frames import Frame
from proofml.tee.measure import CODE_REGISTERS, MODULES, Manifest, code_measurement, manifest
from proofml.tee.platform import Platform
from proofml.tee.registers import REGISTERS
from proofml.tee.sealing import seal_inputs
from proofml.tee.session_file import SessionFile
from proofml.worker.limits import Limits, silent

from .enclave_cases import PlainQuoter, linear, values

PROBE = Path(__file__).parent / "isolation_probe.py"


def test_the_process_loads_what_is_measured_and_nothing_else() -> None:
    """After a start, inferences of both kinds, a checkpoint and errors."""
    limits = Limits(seconds=60)
    child = Child.spawn(PlainQuoter(), limits, silent, program=(str(PROBE), "work"))

    def ask(frame: Frame) -> Frame:
        with child.speaking(5):
            return child.ask(frame, 60, "test")

    model = linear()
    start = {
        "op": "start",
        "name": "linear",
        "model": model.digest,
        "file": model.file_digest,
        "mode": Mode.SESSION,
        "algorithm": "secp256k1",
        "challenge": None,
        "milliseconds": 60000,
    }
    reply = ask(Frame(start, {"model": model.canonical}))
    fields, blobs = messages.result(reply, "test"), dict(reply.blobs)
    attestation = messages.take_attestation(fields, blobs)
    session = SessionFile(attestation, blobs["config"], blobs["session"])
    sealed, _ = seal_inputs(values(), session.record())
    request = messages.put_tensors("inputs", "input", values())
    for frame, good in (
        (messages.merged(Frame({"op": "infer", "nonce": "00"}), request), True),
        (Frame({"op": "infer-sealed", "nonce": None}, {"sealed": sealed}), True),
        (Frame({"op": "infer-sealed", "nonce": None}, {"sealed": b"x"}), False),
        (Frame({"op": "checkpoint", "nonce": "00"}), True),
        (Frame({"op": "other"}), False),
    ):
        assert ask(frame).body["ok"] is good
    found = ask(Frame({"op": "modules"})).body["modules"]
    child.close()
    assert isinstance(found, list)
    loaded = {str(name) for name in found if str(name).split(".")[0] == "proofml"}
    # The probe runs in the place of this one module, and brings no other.
    assert loaded | {"proofml.tee.enclave.__main__"} == set(MODULES)
    others = {str(name).split(".")[0] for name in found} - set(sys.stdlib_module_names)
    others -= {"proofml", "__main__"}
    others -= {name for name in others if name.startswith(("__editable__", "_distutils"))}
    required = {"onnxruntime", "numpy", "cryptography", "coincurve", "Crypto"}
    of_required = {"_openssl", "_libsecp256k1", "_cffi_backend", "cffi", "pycparser"}
    assert required <= others <= required | of_required


def test_each_platform_has_its_register_and_value() -> None:
    made = manifest()
    values = set()
    for platform in Platform:
        ((name, value),) = code_measurement(platform).items()
        algorithm = CODE_REGISTERS[platform][1]
        tag = b"proofml/tee/code/v1\0" + platform.encode() + b"\0"
        assert value == hashlib.new(algorithm, tag + made.to_bytes()).hexdigest()
        assert len(value) == 2 * REGISTERS[platform][name]
        values.add(value)
    assert len(values) == len(Platform)


def test_a_manifest_names_sources_and_versions() -> None:
    made = manifest()
    import proofml.tee.enclave.service as service

    source = Path(service.__file__).read_bytes()
    assert made.modules["proofml.tee.enclave.service"] == sha256(source)
    assert set(made.modules) == set(MODULES)
    assert list(MODULES) == sorted(set(MODULES))
    assert made.requires["onnxruntime"] == version("onnxruntime")
    assert made.requires["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(made.requires) == {
        "python",
        "onnxruntime",
        "numpy",
        "cryptography",
        "coincurve",
        "pycryptodome",
    }
    assert loads(made.to_bytes()) == {
        "version": 1,
        "modules": dict(made.modules),
        "requires": dict(made.requires),
    }


def test_any_change_is_another_measurement() -> None:
    made = manifest()
    name = MODULES[3]
    for other in (
        Manifest({**made.modules, name: "00" * 32}, made.requires),
        Manifest({k: v for k, v in made.modules.items() if k != name}, made.requires),
        Manifest(made.modules, {**made.requires, "numpy": "0"}),
        Manifest(made.modules, {**made.requires, "coincurve": None}),
    ):
        assert other.measurement(Platform.TDX) != made.measurement(Platform.TDX)


def test_a_verifier_with_other_versions_names_the_enclaves() -> None:
    """It derives the value of an enclave on another Python and onnxruntime."""
    theirs = {"python": "3.12.9", "onnxruntime": "1.20.0"}
    found = code_measurement(Platform.SGX, theirs)
    made = manifest()
    expected = Manifest(made.modules, {**made.requires, **theirs}).measurement(Platform.SGX)
    assert found == expected != code_measurement(Platform.SGX)
    with pytest.raises(UsageError, match="torch"):
        code_measurement(Platform.SGX, {"torch": "2"})


def test_measuring_imports_nothing_heavy() -> None:
    code = (
        "import sys; from proofml.tee.measure import code_measurement\n"
        "from proofml.tee.platform import Platform\n"
        "print(code_measurement(Platform.TDX)['mrtd'])\n"
        "bad = {'onnxruntime', 'numpy', 'onnx', 'cryptography', 'coincurve', 'Crypto'}\n"
        "print(*sorted(bad & set(sys.modules)), *(m for m in sys.modules if 'enclave.' in m))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, imported = done.stdout.splitlines()
    assert value == code_measurement(Platform.TDX)["mrtd"], "the same in every process"
    assert imported == ""
