"""Intel SGX quotes, version 3: parse, then verify.

Source: Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4; the report body: Intel Software
Developer's Manual, volume 3D, "REPORT".
"""

from __future__ import annotations

from dataclasses import dataclass

from proofml.errors import UsageError
from proofml.tee import dcap
from proofml.tee.dcap_verify import Shown, verify_envelope, verify_signatures
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.reader import Field, Reader
from proofml.tee.roots import Roots


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote of the right form; nobody has checked a signature. `fields`: every byte, in order."""

    envelope: dcap.Envelope
    report: dcap.EnclaveReport
    fields: tuple[Field, ...]


def parse(data: bytes, *, lenient: bool = False) -> Quote:
    """Read a quote.

    Args:
        lenient: take any bytes behind the signature data, for people who look at a file.

    Raises:
        VerificationError: tee.3.
    """
    reader = Reader(data, "SGX quote")
    header = dcap.read_header(reader, (3,), dcap.TEE_SGX)
    report = dcap.read_enclave_report(reader, "report")
    stop = reader.offset
    signature = dcap.read_signature(reader, header.version)
    dcap.finish(reader, lenient)
    fields = tuple(reader.fields)
    envelope = dcap.Envelope(header, dcap.Body.SGX, report.raw, signature, data[:stop], fields)
    return Quote(envelope, report, fields)


def signatures(data: bytes, roots: Roots, now: int, *, lenient: bool = False) -> Shown:
    """What can be shown of a quote without collateral: its chain and its signatures.

    Raises:
        VerificationError: tee.3 to tee.5, tee.7.
    """
    quote = parse(data, lenient=lenient)
    return verify_signatures(quote.envelope, Platform.SGX, roots, now)


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """What the enclave's report says, once everything holds at `now` (seconds since 1970).

    Raises:
        VerificationError: tee.2 to tee.8.
    """
    if evidence.platform is not Platform.SGX:
        raise UsageError(f"evidence of {evidence.platform} where that of sgx was expected")
    quote = parse(evidence.quote)
    report = quote.report
    bits = report.named_flags()
    appraised = frozenset({dcap.DEBUG_WORDS} if bits["debug"] else ())
    shown = verify_envelope(quote.envelope, evidence, roots, now, appraised=appraised)
    return Verified(
        platform=Platform.SGX,
        root=shown.path.root,
        report_data=report.report_data,
        measurements={
            "mrenclave": report.mrenclave.hex(),
            "mrsigner": report.mrsigner.hex(),
            "configid": report.config_id.hex(),
            "isvextprodid": report.isv_ext_prod_id.hex(),
            "isvfamilyid": report.isv_family_id.hex(),
            "isvprodid": report.isv_prod_id.to_bytes(2, "big").hex(),
        },
        svns={"isv_svn": report.isv_svn, "config_svn": report.config_svn} | shown.svns,
        attributes=bits,
        not_before=shown.not_before,
        not_after=shown.not_after,
        tcb_status=shown.status,
        advisories=shown.advisories,
        details=shown.details | {"quote": f"version {quote.envelope.header.version}"},
    )
