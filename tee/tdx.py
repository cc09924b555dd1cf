"""Intel TDX quotes, versions 4 and 5: parse, then verify.

Source: Intel TDX DCAP Quoting Library API, appendix A.3; attributes of a trust domain: Intel TDX
Module ABI Specification (348551), "ATTRIBUTES". Of its bits, 17 to 22 are refused: bit 17 stands
for a report of another form (body type 4), and the others have no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofml.errors import UsageError
from proofml.tee import dcap
from proofml.tee.checks import QUOTE, refuse
from proofml.tee.dcap_verify import Shown, verify_envelope, verify_signatures
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.reader import Field, Reader
from proofml.tee.roots import Roots

TD10_BYTES, TD15_BYTES = 584, 648
#: Bits of a trust domain's attributes; `debug` makes everything in it readable.
TD_ATTRIBUTES: Final = {
    "debug": 0,
    "hgs_plus_prof": 4,
    "perf_prof": 5,
    "pmt_prof": 6,
    "icssd": 16,
    "lass": 27,
    "sept_ve_disable": 28,
    "migratable": 29,
    "pks": 30,
    "kl": 31,
    "tpa": 62,
    "perfmon": 63,
}
_KNOWN: Final = sum(1 << bit for bit in TD_ATTRIBUTES.values())
_REGISTERS: Final = (
    "mrtd",
    "mrconfigid",
    "mrowner",
    "mrownerconfig",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
)


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote of the right form; nobody has checked a signature.

    Attributes:
        tcb_svn: of the TDX module and SEAM loader, 16 bytes; `tcb_svn2` after an update (TD 1.5).
        registers: name -> 48 bytes, those of `_REGISTERS`, `mrseam`, `mrsignerseam` and, in
            TD 1.5, `mrservicetd`.
        attributes, seam_attributes, xfam: bit fields.
        report_data: 64 bytes of the guest's choice.
        fields: every byte, in order.
    """

    envelope: dcap.Envelope
    tcb_svn: bytes
    tcb_svn2: bytes | None
    registers: dict[str, bytes]
    attributes: int
    seam_attributes: int
    xfam: int
    report_data: bytes
    fields: tuple[Field, ...]


def parse(data: bytes, *, lenient: bool = False) -> Quote:
    """Read a quote.

    Args:
        lenient: take any bytes behind the signature data, for people who look at a file.

    Raises:
        VerificationError: tee.3.
    """
    reader = Reader(data, "TDX quote")
    header = dcap.read_header(reader, (4, 5), dcap.TEE_TDX)
    kind = dcap.Body.TD10
    if header.version == 5:
        found = reader.integer("body_type", 2, "2: TD 1.0, 3: TD 1.5")
        if found not in (dcap.Body.TD10, dcap.Body.TD15):
            refuse(QUOTE, "TDX quote: body type", expected="2 or 3", got=found)
        kind = dcap.Body(found)
        size = reader.integer("body_length", 4)
        expected = TD10_BYTES if kind is dcap.Body.TD10 else TD15_BYTES
        if size != expected:
            refuse(QUOTE, "TDX quote: body length", expected=expected, got=size)
    start = reader.offset
    svn = reader.take("td.tee_tcb_svn", 16, "of the TDX module")
    registers = {name: reader.take(f"td.{name}", 48) for name in ("mrseam", "mrsignerseam")}
    seam_attributes = reader.integer("td.seam_attributes", 8)
    if seam_attributes:
        refuse(QUOTE, "TDX quote: SEAM attributes", expected=0, got=hex(seam_attributes))
    attributes = reader.integer("td.attributes", 8, "bit 0: debug")
    if attributes & ~_KNOWN:
        refuse(QUOTE, "TDX quote: attributes", expected="known bits", got=hex(attributes))
    xfam = reader.integer("td.xfam", 8, "extended features")
    registers |= {name: reader.take(f"td.{name}", 48) for name in _REGISTERS}
    report_data = reader.take("td.report_data", 64, "of the guest's choice")
    svn2 = None
    if kind is dcap.Body.TD15:
        svn2 = reader.take("td.tee_tcb_svn2", 16, "of the module after an update")
        registers["mrservicetd"] = reader.take("td.mrservicetd", 48)
    stop = reader.offset
    signature = dcap.read_signature(reader, header.version)
    dcap.finish(reader, lenient)
    fields = tuple(reader.fields)
    envelope = dcap.Envelope(header, kind, data[start:stop], signature, data[:stop], fields)
    return Quote(
        envelope, svn, svn2, registers, attributes, seam_attributes, xfam, report_data, fields
    )


def signatures(data: bytes, roots: Roots, now: int, *, lenient: bool = False) -> Shown:
    """What can be shown of a quote without collateral: its chain and its signatures.

    Raises:
        VerificationError: tee.3 to tee.5, tee.7.
    """
    quote = parse(data, lenient=lenient)
    return verify_signatures(quote.envelope, Platform.TDX, roots, now)


def _appraised(bits: Mapping[str, bool]) -> frozenset[str]:
    """Why `dcap-qvl` refuses a guest for its attributes, which are for appraisal here."""
    profiled = bits["hgs_plus_prof"] or bits["perf_prof"] or bits["pmt_prof"]
    words = {
        dcap.DEBUG_WORDS: bits["debug"],
        "TD profiling is enabled": profiled,
        "TD migration is enabled": bits["migratable"],
        "SEPT_VE_DISABLE is not enabled": not bits["sept_ve_disable"],
    }
    return frozenset(text for text, holds in words.items() if holds)


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """What the trust domain's report says, once everything holds at `now` (seconds since 1970).

    Raises:
        VerificationError: tee.2 to tee.8.
    """
    if evidence.platform is not Platform.TDX:
        raise UsageError(f"evidence of {evidence.platform} where that of tdx was expected")
    quote = parse(evidence.quote)
    bits = {name: bool(quote.attributes >> bit & 1) for name, bit in TD_ATTRIBUTES.items()}
    domain = dcap.Domain(
        (quote.tcb_svn,) if quote.tcb_svn2 is None else (quote.tcb_svn, quote.tcb_svn2),
        quote.registers["mrsignerseam"],
        quote.seam_attributes.to_bytes(8, "little"),
        quote.registers.get("mrservicetd", b""),
    )
    shown = verify_envelope(
        quote.envelope, evidence, roots, now, domain=domain, appraised=_appraised(bits)
    )
    svns = {f"tee_tcb_svn{index}": byte for index, byte in enumerate(quote.tcb_svn)}
    return Verified(
        platform=Platform.TDX,
        root=shown.path.root,
        report_data=quote.report_data,
        measurements={name: value.hex() for name, value in quote.registers.items()},
        svns=svns | shown.svns,
        attributes=bits,
        not_before=shown.not_before,
        not_after=shown.not_after,
        tcb_status=shown.status,
        advisories=shown.advisories,
        details=shown.details | {"quote": f"version {quote.envelope.header.version}"},
    )
