"""Quoters of real platforms, on folders and devices that behave as the kernel's do."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.errors import BackendFailed, BackendUnavailable, UsageError
from proofml.tee import sev_snp, tdx
from proofml.tee.amd_collateral import read_collateral
from proofml.tee.cert_table import read_table, table_collateral
from proofml.tee.config import CONFIG_EVENT, config_event, host_data
from proofml.tee.eventlog import EventLog, extended, runtime_digest
from proofml.tee.hardware import REPORTS, ReportFolders, TsmQuoter, open_quoter
from proofml.tee.nsm import IOCTL_RAW, MAX_RESPONSE_BYTES, NsmDevice, NsmQuoter, Raw
from proofml.tee.platform import Platform
from proofml.tee.quoter import Quoter
from proofml.tee.simulator.intel import td_body

DATA = hashlib.sha512(b"report data").digest()
CONFIG = b'{"a":"configuration"}'

# -- configfs-tsm ---------------------------------------------------------------------------------


class Kernel(ReportFolders):
    """A `configfs-tsm` in a folder: files come and go with their folder, and a read of `outblob`
    would make the quote. Here it is made once `inblob` has been written, by the fake's `make`.
    """

    def __init__(self, root: Path, provider: str, make: Callable[[bytes], bytes]) -> None:
        super().__init__(root)
        root.mkdir(exist_ok=True)
        self.provider = provider
        self.make = make
        self.auxiliary: bytes | None = None
        self.privileges: list[bytes] = []
        self.disturbed = False

    def create(self) -> Path:
        path = super().create()
        (path / "provider").write_text(self.provider + "\n")
        (path / "inblob").touch()
        (path / "privlevel").touch()
        (path / "generation").write_text("1\n")
        out = path / "outblob"
        out.symlink_to(path / ".out")
        if self.auxiliary is not None:
            (path / "auxblob").write_bytes(self.auxiliary)
        return _Watched(path, self)

    def remove(self, path: Path) -> None:
        for file in path.iterdir():
            file.unlink()
        super().remove(path)


class _Watched(type(Path())):  # type: ignore[misc]
    """A folder in which reading `outblob` makes the quote first, as the kernel does."""

    def __new__(cls, path: Path, kernel: Kernel) -> _Watched:
        made: _Watched = super().__new__(cls, path)
        return made

    def __init__(self, path: Path, kernel: Kernel) -> None:
        if hasattr(Path, "with_segments"):  # Python 3.12
            super().__init__(path)
        self.kernel = kernel

    def with_segments(self, *parts: Any) -> Path:
        return Path(*parts)

    def __truediv__(self, name: Any) -> Path:
        folder = Path(str(self))
        if name == "outblob":
            self.kernel.privileges.append((folder / "privlevel").read_bytes())
            (folder / ".out").write_bytes(self.kernel.make((folder / "inblob").read_bytes()))
            if self.kernel.disturbed:
                (folder / "generation").write_text("2\n")
        return folder / name


def td_quote(intel: Any, registers: Callable[[], dict[str, bytes]]) -> Callable[[bytes], bytes]:
    def make(data: bytes) -> bytes:
        body = td_body(report_data=data, registers=registers())
        quote: bytes = intel.sign(body, 1764000000)
        return quote

    return make


class Registers:
    """TDX's registers in sysfs: a write of 48 bytes extends, which this does when it is asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "rtmr3:sha384"
        self.path.write_bytes(bytes(48))


@pytest.fixture
def td(tmp_path: Path, intel: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, Registers]:
    registers = Registers(tmp_path / "measurements")
    made = td_quote(intel, lambda: {"rtmr3": registers.path.read_bytes()})
    opened = Path.open

    def open_register(self: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        """A file of sysfs: what is written extends what is read."""
        if self == registers.path and mode == "r+b":
            return _Extending(registers.path)
        return opened(self, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", open_register)
    return Kernel(tmp_path / "report", "tdx_guest", made), registers


class _Extending:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Extending:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, data: bytes) -> int:
        if len(data) != 48:
            raise OSError(22, "Invalid argument")
        self.path.write_bytes(extended(self.path.read_bytes(), data))
        return len(data)


def tdx_quoter(td: tuple[Kernel, Registers], **options: Any) -> TsmQuoter:
    kernel, registers = td
    return TsmQuoter(Platform.TDX, folders=kernel, measurements=registers.folder, **options)


def test_a_td_measures_and_quotes(td: tuple[Kernel, Registers]) -> None:
    quoter = tdx_quoter(td, collateral=lambda quote: b"collateral of %d" % len(quote))
    assert isinstance(quoter, Quoter)
    quoter.configure(CONFIG)
    quoter.extend("more", b"payload")
    found = quoter.quote(DATA)
    assert found.platform is Platform.TDX
    assert found.collateral == b"collateral of %d" % len(found.quote)
    log = EventLog.read(found.event_log, Platform.TDX)
    assert log.payload(CONFIG_EVENT, 3) == config_event(CONFIG)
    assert log.payload("more", 3) == b"payload"
    quote = tdx.parse(found.quote)
    assert quote.report_data == DATA
    values = {field.name: field.data for field in quote.fields}
    assert values["td.rtmr3"].hex() == log.registers["rtmr3"]
    log.check({"rtmr3": values["td.rtmr3"].hex()})
    assert list(td[0].root.iterdir()) == [], "each folder is removed"


def test_a_td_that_measured_before_needs_its_log(td: tuple[Kernel, Registers]) -> None:
    """As in dstack: what was started before is in RTMR3, and the log explains it."""
    before = EventLog(Platform.TDX).extended(3, "compose-hash", bytes(32))
    td[1].path.write_bytes(bytes.fromhex(before.registers["rtmr3"]))
    with pytest.raises(BackendFailed, match="give the log"):
        tdx_quoter(td)
    quoter = tdx_quoter(td, log=before)
    quoter.configure(CONFIG)
    log = EventLog.read(quoter.quote(DATA).event_log, Platform.TDX)
    assert [event.name for event in log.events] == ["compose-hash", CONFIG_EVENT]
    assert log.registers["rtmr3"] == td[1].path.read_bytes().hex()


def test_somebody_else_measures_at_the_same_time(
    td: tuple[Kernel, Registers], monkeypatch: pytest.MonkeyPatch
) -> None:
    quoter = tdx_quoter(td)
    write = _Extending.write

    def twice(self: _Extending, data: bytes) -> int:
        write(self, bytes(48))
        return write(self, data)

    monkeypatch.setattr(_Extending, "write", twice)
    with pytest.raises(BackendFailed, match="somebody else"):
        quoter.configure(CONFIG)


def test_a_configuration_is_measured_once(td: tuple[Kernel, Registers]) -> None:
    quoter = tdx_quoter(td)
    quoter.configure(CONFIG)
    with pytest.raises(UsageError, match="measured already"):
        quoter.configure(CONFIG)


def test_a_kernel_without_registers(td: tuple[Kernel, Registers]) -> None:
    td[1].path.unlink()
    with pytest.raises(BackendUnavailable, match=r"Linux 6\.16"):
        tdx_quoter(td)


def test_no_guest(tmp_path: Path) -> None:
    for platform in (Platform.TDX, Platform.SEV_SNP):
        with pytest.raises(BackendUnavailable, match="CONFIG_TSM_REPORTS"):
            TsmQuoter(platform, folders=ReportFolders(tmp_path / "none"))


def test_another_kind_of_guest(td: tuple[Kernel, Registers]) -> None:
    td[0].provider = "sev_guest"
    quoter = tdx_quoter(td)
    with pytest.raises(BackendUnavailable, match="another kind of guest"):
        quoter.quote(DATA)


def test_somebody_else_writes_into_the_folder(td: tuple[Kernel, Registers]) -> None:
    td[0].disturbed = True
    with pytest.raises(BackendFailed, match="somebody else wrote"):
        tdx_quoter(td).quote(DATA)
    assert list(td[0].root.iterdir()) == []


def test_no_quote(td: tuple[Kernel, Registers]) -> None:
    td[0].make = lambda data: b""
    with pytest.raises(BackendFailed, match="no quote"):
        tdx_quoter(td).quote(DATA)

    def fail(data: bytes) -> bytes:
        raise OSError(27, "File too large")

    td[0].make = fail
    with pytest.raises(OSError, match="File too large"):
        tdx_quoter(td).quote(DATA)


def test_a_folder_that_cannot_be_made(td: tuple[Kernel, Registers]) -> None:
    quoter = tdx_quoter(td)
    td[0].root.rmdir()
    with pytest.raises(BackendFailed, match="No such file"):
        quoter.quote(DATA)


def test_misuse(td: tuple[Kernel, Registers]) -> None:
    quoter = tdx_quoter(td)
    with pytest.raises(UsageError, match="64 bytes"):
        quoter.quote(b"short")
    with pytest.raises(UsageError, match="cannot be logged"):
        quoter.extend("a:colon", b"")
    for platform in (Platform.SGX, Platform.NITRO):
        with pytest.raises(UsageError, match="expected one of"):
            TsmQuoter(platform)
    with pytest.raises(UsageError, match="privilege"):
        tdx_quoter(td, privilege=0)
    with pytest.raises(UsageError, match="one of TDX"):
        tdx_quoter(td, log=EventLog(Platform.NITRO))


# -- SEV-SNP --------------------------------------------------------------------------------------

NAMES = {
    "VCEK": "63da758d-e664-4564-adc5-f4b93be8accd",
    "VLEK": "a8074bc2-a25a-483e-aae6-39c045a0b8a1",
    "ASK": "4ab7b379-bbac-4fe4-a02f-05aef327c782",
    "ARK": "c0b406a4-a803-4952-9743-3fb6014cd0ae",
    "CRL": "92f81bc3-5811-4d3d-97ff-d19f88dc67ea",
    "other": "00000000-0000-0000-0000-000000000001",
}


def table(parts: dict[str, bytes]) -> bytes:
    """As a host makes it."""
    at = 24 * (len(parts) + 1)
    head, body = b"", b""
    for name, data in parts.items():
        head += UUID(NAMES[name]).bytes + struct.pack("<II", at + len(body), len(data))
        body += data
    return head + bytes(24) + body


@pytest.fixture(scope="module")
def certificates(amd: Any) -> dict[str, bytes]:
    collateral = read_collateral(amd.collateral(1764000000))
    names = ("VCEK", "ASK", "ARK")
    parts = dict(zip(names, (collateral.leaf, *collateral.chain), strict=True))
    return {name: part.public_bytes(Encoding.DER) for name, part in parts.items()}


@pytest.fixture
def snp(tmp_path: Path, amd: Any, certificates: dict[str, bytes]) -> Kernel:
    def make(data: bytes) -> bytes:
        quote: bytes = amd.quote(report_data=data, host_data=host_data(CONFIG))
        return quote

    kernel = Kernel(tmp_path / "report", "sev_guest", make)
    kernel.auxiliary = table({**certificates, "other": b"x"})
    return kernel


def test_an_snp_guest_quotes_with_the_hosts_certificates(
    snp: Kernel, certificates: dict[str, bytes]
) -> None:
    quoter = TsmQuoter(Platform.SEV_SNP, folders=snp)
    quoter.configure(CONFIG)
    found = quoter.quote(DATA)
    assert found.event_log == b""
    fields = {field.name: field.data for field in sev_snp.parse(found.quote).fields}
    assert fields["report_data"] == DATA
    read = read_collateral(found.collateral)
    assert read.leaf.public_bytes(Encoding.DER) == certificates["VCEK"]
    assert [one.public_bytes(Encoding.DER) for one in read.chain] == [
        certificates["ASK"],
        certificates["ARK"],
    ]
    assert read.crl is None
    assert snp.privileges == [b"", b""]


def test_a_guest_that_was_launched_with_another_configuration(snp: Kernel) -> None:
    quoter = TsmQuoter(Platform.SEV_SNP, folders=snp)
    with pytest.raises(BackendFailed, match="host-data"):
        quoter.configure(b"another")
    quoter.configure(CONFIG)


def test_the_privilege_level_is_asked_for(snp: Kernel) -> None:
    TsmQuoter(Platform.SEV_SNP, folders=snp, privilege=2).quote(DATA)
    assert snp.privileges == [b"2"]


def test_given_collateral_comes_first(snp: Kernel) -> None:
    snp.auxiliary = None
    quoter = TsmQuoter(Platform.SEV_SNP, folders=snp, collateral=lambda quote: b"given")
    assert quoter.quote(DATA).collateral == b"given"
    with pytest.raises(BackendFailed, match="AMD's key server"):
        TsmQuoter(Platform.SEV_SNP, folders=snp).quote(DATA)


def test_no_register_that_grows(snp: Kernel) -> None:
    with pytest.raises(UsageError, match="no register"):
        TsmQuoter(Platform.SEV_SNP, folders=snp).extend("event", b"")


def test_a_table_of_certificates(amd: Any, certificates: dict[str, bytes]) -> None:
    parts = {**certificates, "other": b"unknown"}
    assert read_table(table(parts)) == certificates
    assert read_table(bytes(24)) == {}
    crl = amd.revocations(1764000000)
    for encoding in (Encoding.DER, Encoding.PEM):
        whole = table({**certificates, "CRL": crl.public_bytes(encoding)})
        assert read_collateral(table_collateral(whole)).crl == crl


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(4096),
        b"x" * 23,
        table({"VCEK": b"x"})[:24],
        UUID(NAMES["VCEK"]).bytes + struct.pack("<II", 2**32 - 1, 2**32 - 1) + bytes(24),
        table({"VCEK": b"x", "ASK": b"y", "ARK": b"z"}),
        table({"ASK": b"y", "ARK": b"z"}),
        (UUID(NAMES["other"]).bytes + struct.pack("<II", 0, 1)) * 70,
    ],
    ids=range(8),
)
def test_a_table_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(BackendFailed):
        table_collateral(data)


def test_a_certificate_of_no_version_is_refused(certificates: dict[str, bytes]) -> None:
    """The host wrote the table, and it may write anything."""
    version, none = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"
    assert version in certificates["ASK"]
    data = table({**certificates, "ASK": certificates["ASK"].replace(version, none, 1)})
    with pytest.raises(BackendFailed, match="table of certificates"):
        table_collateral(data)


# -- Nitro ----------------------------------------------------------------------------------------


class SecurityModule:
    """/dev/nsm: reads the request where the message points, and writes its response there."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.register = bytes(48)
        self.locked = False
        self.answers: dict[str, Any] = {}
        self.requests: list[int] = []

    def __call__(self, device: int, request: int, message: Raw) -> None:
        assert device > 2
        self.requests.append(request)
        data = ctypes.string_at(message.request, message.request_len)
        found = self.answer(cbor2.loads(data))
        raw = found if isinstance(found, bytes) else cbor2.dumps(found)
        assert len(raw) <= message.response_len == MAX_RESPONSE_BYTES
        ctypes.memmove(message.response, raw, len(raw))
        message.response_len = len(raw)

    def answer(self, asked: Any) -> Any:
        ((name, body),) = asked.items()
        if name in self.answers:
            return self.answers[name]
        if name == "Attestation":
            shown = {0: b"\1" * 48, 1: b"\1" * 48, 2: b"\1" * 48}
            if self.locked:
                shown[16] = self.register
            document = self.aws.quote(report_data=body["user_data"], now=1764000000, pcrs=shown)
            return {"Attestation": {"document": document}}
        assert body["index"] == 16
        if name == "DescribePCR":
            return {"DescribePCR": {"lock": self.locked, "data": self.register}}
        if self.locked:
            return {"Error": "ReadOnlyIndex"}
        if name == "LockPCR":
            self.locked = True
            return "LockPCR"
        assert name == "ExtendPCR"
        self.register = extended(self.register, body["data"])
        return {"ExtendPCR": {"data": self.register}}


@pytest.fixture
def module(aws: Any) -> SecurityModule:
    return SecurityModule(aws)


@pytest.fixture
def device(tmp_path: Path, module: SecurityModule) -> NsmDevice:
    (tmp_path / "nsm").touch()
    return NsmDevice(tmp_path / "nsm", module)


def test_a_nitro_enclave_measures_and_quotes(device: NsmDevice, module: SecurityModule) -> None:
    from proofml.tee import nitro

    quoter = NsmQuoter(device)
    assert isinstance(quoter, Quoter)
    quoter.configure(CONFIG)
    quoter.extend("more", b"payload")
    found = quoter.quote(DATA)
    again = quoter.quote(bytes(64))
    assert found.platform is Platform.NITRO
    assert found.collateral == b""
    log = EventLog.read(found.event_log, Platform.NITRO)
    assert again.event_log == found.event_log
    assert log.payload(CONFIG_EVENT, 16) == config_event(CONFIG)
    document = nitro.parse(found.quote)
    assert document.user_data == DATA
    assert document.pcrs[16].hex() == log.registers["pcr16"]
    assert document.pcrs[16] == module.register
    assert set(module.requests) == {IOCTL_RAW}
    with pytest.raises(UsageError, match="locked since"):
        quoter.extend("late", b"")


def test_a_document_travels_without_the_tag(device: NsmDevice, module: SecurityModule) -> None:
    """AWS describes it with one, and may come to write it."""
    quoter = NsmQuoter(device)
    bare = quoter.quote(DATA).quote
    assert bare[:1] == b"\x84"
    module.answers["Attestation"] = {"Attestation": {"document": b"\xd2" + bare}}
    assert quoter.quote(DATA).quote == bare


def test_the_ioctl_is_the_kernels() -> None:
    """`_IOWR(0x0A, 0, struct nsm_raw)`: direction 3, size 32, type 0x0A, number 0."""
    assert 3 << 30 | ctypes.sizeof(Raw) << 16 | 0x0A << 8 | 0 == IOCTL_RAW
    assert ctypes.sizeof(Raw) == 32


def test_a_device_that_takes_no_ioctl(tmp_path: Path) -> None:
    """The real system call, on a file."""
    (tmp_path / "file").touch()
    with pytest.raises(BackendFailed, match="ioctl"):
        NsmQuoter(tmp_path / "file")


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="inside a Nitro enclave"):
        NsmQuoter(tmp_path / "none")


def test_a_register_that_is_in_use(device: NsmDevice, module: SecurityModule) -> None:
    module.register = b"\1" * 48
    with pytest.raises(BackendFailed, match="in use"):
        NsmQuoter(device)
    module.register, module.locked = bytes(48), True
    with pytest.raises(BackendFailed, match="in use"):
        NsmQuoter(device)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("DescribePCR", {"Error": "InvalidIndex"}, "InvalidIndex"),
        ("DescribePCR", b"\x18", "no CBOR"),
        ("DescribePCR", b"", "no CBOR"),
        ("DescribePCR", "DescribePCR", "unexpected response"),
        ("DescribePCR", {"DescribePCR": 1}, "unexpected response"),
        ("ExtendPCR", {"ExtendPCR": {"data": bytes(48)}}, "somebody else"),
        ("ExtendPCR", {"ExtendPCR": {}}, "somebody else"),
        ("LockPCR", {"LockPCR": {}}, "unexpected response"),
        ("Attestation", {"Error": "InternalError"}, "InternalError"),
        ("Attestation", {"Attestation": {"document": "text"}}, "without a document"),
    ],
)
def test_a_module_that_answers_otherwise(
    device: NsmDevice, module: SecurityModule, name: str, answer: Any, words: str
) -> None:
    module.answers[name] = answer

    def use() -> None:
        quoter = NsmQuoter(device)
        quoter.configure(CONFIG)
        quoter.quote(DATA)

    with pytest.raises(BackendFailed, match=words):
        use()


def test_nitro_misuse(device: NsmDevice) -> None:
    quoter = NsmQuoter(device)
    with pytest.raises(UsageError, match="64 bytes"):
        quoter.quote(b"")
    quoter.configure(CONFIG)
    with pytest.raises(UsageError, match="measured already"):
        quoter.configure(CONFIG)
    with pytest.raises(UsageError, match="too long"):
        device.ask({"Attestation": {"user_data": bytes(5000)}})
    assert runtime_digest("a", b"") != runtime_digest("b", b"")


# -- which one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", list(Platform))
def test_a_machine_without_any_says_so(platform: Platform) -> None:
    if REPORTS.is_dir() or Path("/dev/nsm").exists():
        pytest.skip("this machine is a guest with quotes of its own")
    with pytest.raises(BackendUnavailable):
        open_quoter(platform)
