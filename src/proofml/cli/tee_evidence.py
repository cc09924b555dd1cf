"""What `proofml tee inspect` finds in a file: evidence of a platform, and which checks it passes.

Nothing here is a verdict. Evidence is judged without a Statement, or by the one that it came with,
and as far as it goes: a quote without collateral shows its chain and its signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from proofml import container
from proofml.canonical import CanonicalError, loads
from proofml.checks import CheckResult, Checks
from proofml.errors import UsageError, VerificationError
from proofml.proof import Proof
from proofml.statement import Statement
from proofml.tee import checks as numbers
from proofml.tee import platforms
from proofml.tee.about import NAME
from proofml.tee.binding import Mode
from proofml.tee.evidence import Parts, Record
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.policy import TeePolicy
from proofml.tee.reader import Field
from proofml.tee.roots import Roots
from proofml.tee.session_file import TYPE as SESSION_TYPE
from proofml.tee.session_file import SessionFile
from proofml.tee.verify_evidence import NO_STATEMENT, Claim, verify_quote, verify_receipts
from proofml.tee.x509 import as_text

if TYPE_CHECKING:
    from cryptography import x509

QUOTE, PROOF, SESSION = "quote", "proof", "session file"
_INTEL: Final = (Platform.TDX, Platform.SGX)
#: A platform's steps before a number, where each is made as a whole before the next one begins.
_BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    numbers.SIGNATURE: (numbers.QUOTE, numbers.ROOT, numbers.CERTIFICATES),
    numbers.COLLATERAL: (numbers.QUOTE, numbers.ROOT, numbers.CERTIFICATES, numbers.SIGNATURE),
    # The form is what fails, or was not looked at yet.
    numbers.QUOTE: (),
    numbers.EVIDENCE: (),
}


@dataclass(frozen=True)
class Found:
    """Evidence in a file, of the right form; nothing about it was checked.

    Attributes:
        kind: `QUOTE`, `PROOF` or `SESSION`.
        fields: every byte of the quote, in order.
        parts: what a proof or a session file has beside the quote.
        statement: of a proof.
    """

    kind: str
    attestation: Attestation
    fields: tuple[Field, ...] = field(repr=False)
    parts: Parts | None = None
    statement: Statement | None = None

    @property
    def platform(self) -> Platform:
        return self.attestation.platform

    @property
    def exact(self) -> Attestation:
        """Without what stands behind the quote, which is not signed."""
        behind = sum(len(one.data) for one in self.fields if one.name == "padding")
        quote = self.attestation.quote
        return replace(self.attestation, quote=quote[: len(quote) - behind])


def find(data: bytes) -> Found:
    """Look into a quote, a proof or a session file.

    Raises:
        VerificationError: it is none of them, or broken (number of the check).
        UsageError: a proof of another backend.
        BackendUnavailable: a package of the platform is missing.
    """
    if data.startswith(container.MAGIC):
        return _contained(data)
    platform = platforms.detect(data)
    return Found(QUOTE, Attestation(platform, data), _fields(platform, data))


def _contained(data: bytes) -> Found:
    head, _ = container.unpack(data)
    try:
        value = loads(head, max_bytes=container.MAX_ATTESTATION_BYTES)
    except CanonicalError:
        value = None  # a proof, or nothing: reading it as one says what is wrong
    if isinstance(value, dict) and value.get("type") == SESSION_TYPE:
        file = SessionFile.read(data)
        attestation = file.attestation
        fields = _fields(attestation.platform, attestation.quote)
        return Found(SESSION, attestation, fields, Parts.of_session(file))
    proof = Proof.read(data)
    if proof.backend != NAME:
        raise UsageError(
            f"expected a proof of {NAME}, got one of {proof.backend}; `proofml show` shows it"
        )
    parts = Parts.read(proof, Record.read(proof.statement))
    attestation = parts.attestation
    fields = _fields(attestation.platform, attestation.quote)
    return Found(PROOF, attestation, fields, parts, proof.statement)


def _fields(platform: Platform, quote: bytes) -> tuple[Field, ...]:
    """Every byte; what stands behind an Intel quote is one more field."""
    if platform is Platform.TDX:
        from proofml.tee import tdx

        return tdx.parse(quote, lenient=True).fields
    if platform is Platform.SGX:
        from proofml.tee import sgx

        return sgx.parse(quote, lenient=True).fields
    return platforms.parse(platform, quote).fields


# -- collateral from files ------------------------------------------------------------------------


def read_collateral(platform: Platform, files: Sequence[bytes]) -> bytes:
    """What came in files beside a quote, as evidence carries it.

    Args:
        files: Intel: one, the JSON of DCAP collateral. AMD: certificates and revocation list, each
            PEM or DER, in any order; or one, as a proof carries them.

    Raises:
        UsageError: something else.
        VerificationError: tee.5, tee.6, a broken certificate or list.
    """
    if platform is Platform.NITRO:
        raise UsageError("--collateral: a Nitro document carries its certificates; leave it out")
    if platform is Platform.SEV_SNP and not (len(files) == 1 and files[0].startswith(b"{")):
        return _amd(files)
    if len(files) != 1:
        raise UsageError(f"--collateral: expected one file for {platform}, got {len(files)}")
    return files[0]


def _amd(files: Sequence[bytes]) -> bytes:
    from proofml.tee.amd_collateral import write_collateral
    from proofml.tee.x509 import load_crl, load_der, load_pem_crl, load_pems

    certificates: list[x509.Certificate] = []
    crl: x509.CertificateRevocationList | None = None
    for data in files:
        text = data.replace(b"\r\n", b"\n").strip() + b"\n"
        if b"BEGIN X509 CRL" in data:
            crl = load_pem_crl(text, "--collateral: revocation list")
        elif b"BEGIN CERTIFICATE" in data:
            certificates += load_pems(text, "--collateral: certificates")
        else:
            try:
                certificates.append(load_der(data, "--collateral: certificate"))
            except VerificationError:
                crl = load_crl(data, "--collateral: certificate or revocation list")
    # The signing key of a report is elliptic, the keys that certify it are RSA.
    leaves = [one for one in certificates if _is_elliptic(one)]
    if len(leaves) != 1:
        raise UsageError(
            "--collateral: expected the certificate of the signing key (VCEK or VLEK), its issuer "
            f"and the root, got {len(leaves)} of the signing key"
        )
    chain = [c for c in certificates if c is not leaves[0]]
    chain.sort(key=lambda one: one.issuer == one.subject)
    return write_collateral(leaves[0], chain, crl)


def _is_elliptic(certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    try:
        return isinstance(certificate.public_key(), EllipticCurvePublicKey)
    except (ValueError, UnsupportedAlgorithm):
        return False


# -- checks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examined:
    """How far evidence goes.

    Attributes:
        checks: those that were made, by number; the last one may have failed.
        error: of the one that failed.
        verified: what the hardware says; None without collateral where the platform has some.
    """

    checks: tuple[CheckResult, ...]
    error: VerificationError | None
    verified: Verified | None


def examine(found: Found, policy: TeePolicy, roots: Roots, now: int) -> Examined:
    """Make every check that the evidence allows.

    Args:
        policy: its checkpoints are compared with receipts; nothing is appraised.
        now: seconds since 1970.

    Raises:
        BackendUnavailable: a package of the platform is missing.
        UsageError: a checkpoint of the policy's that is none.
    """
    first, more = Checks(numbers.CHECKS), Checks(numbers.CHECKS)
    verified: Verified | None = None
    failed: VerificationError | None = None
    try:
        verified = _quote(found.exact, roots, now, first)
        if verified is not None and found.parts is not None:
            _beside(found, policy, roots, now, more)
    except VerificationError as error:
        failed = error
    made = {one.number for one in first.results}
    rows = [*first.results, *(one for one in more.results if one.number not in made)]
    rows.sort(key=lambda row: int(row.number.rpartition(".")[2]))
    if failed is not None:
        last = Checks(numbers.CHECKS)
        last.record_failure(failed)
        rows += last.results
    return Examined(tuple(rows), failed, verified)


def _quote(evidence: Attestation, roots: Roots, now: int, checks: Checks) -> Verified | None:
    """Checks tee.3 to tee.8, as far as there is collateral for them."""
    intel = evidence.platform in _INTEL
    if intel:
        _intel_signatures(evidence, roots, now, checks)
    elif evidence.platform is Platform.SEV_SNP and not evidence.collateral:
        platforms.parse(evidence.platform, evidence.quote)
        checks.passed(numbers.QUOTE)
        without = "no certificates are at hand (--collateral)"
        for number in (
            numbers.ROOT,
            numbers.CERTIFICATES,
            numbers.REVOCATION,
            numbers.SIGNATURE,
            numbers.COLLATERAL,
        ):
            checks.skipped(number, without)
        return None
    if intel and not evidence.collateral:
        for number in (numbers.REVOCATION, numbers.COLLATERAL):
            checks.skipped(number, "no collateral is at hand (--collateral)")
        return None
    try:
        found = platforms.verify(evidence, roots, now)
    except VerificationError as error:
        if not intel:
            _passed_before(error, checks)
        raise
    if not intel:
        _passed_chain(
            checks, found.root.name, found.root.kind, found.root.sha256, found.not_before,
            found.not_after,
        )  # fmt: skip
    if found.platform is Platform.NITRO:
        checks.skipped(numbers.REVOCATION, "the document carries no lists")
        checks.skipped(numbers.COLLATERAL, "the document carries its certificates, nothing else")
    else:
        if found.details.get("revocation") == "checked":
            checks.passed(numbers.REVOCATION)
        else:
            checks.skipped(numbers.REVOCATION, "no list is at hand")
        words = "" if found.tcb_status is None else f"status {found.tcb_status}"
        checks.passed(numbers.COLLATERAL, words)
    return found


def _passed_before(error: VerificationError, checks: Checks) -> None:
    for number in _BEFORE.get(error.check, (numbers.QUOTE,)):
        checks.passed(number)


def _intel_signatures(evidence: Attestation, roots: Roots, now: int, checks: Checks) -> None:
    from proofml.tee import sgx, tdx
    from proofml.tee.dcap_verify import verify_signatures

    parse = tdx.parse if evidence.platform is Platform.TDX else sgx.parse
    envelope = parse(evidence.quote).envelope
    try:
        shown = verify_signatures(envelope, evidence.platform, roots, now)
    except VerificationError as error:
        _passed_before(error, checks)
        raise
    root = shown.path.root
    _passed_chain(checks, root.name, root.kind, root.sha256, shown.not_before, shown.not_after)


def _passed_chain(
    checks: Checks, name: str, kind: str, sha256: str, not_before: int, not_after: int
) -> None:
    checks.passed(numbers.QUOTE)
    checks.passed(numbers.ROOT, f"{name} ({kind}), {sha256}")
    words = f"hold from {as_text(not_before)} to {as_text(not_after)}"
    checks.passed(numbers.CERTIFICATES, words)
    checks.passed(numbers.SIGNATURE)


def _beside(found: Found, policy: TeePolicy, roots: Roots, now: int, checks: Checks) -> None:
    """Checks tee.9 to tee.14, over what a proof or a session file has beside the quote."""
    assert found.parts is not None
    parts = replace(found.parts, attestation=found.exact)
    if found.statement is None:
        assert parts.session is not None  # a session file has one
        claim = Claim(Mode.SESSION, NO_STATEMENT, parts.session.model, None)
    else:
        record = Record.read(found.statement)
        model = found.statement.model.canonical_sha256
        assert model is not None  # the record was read: the weights are not hidden
        claim = Claim(record.mode, found.statement.digest, model, record.runtime)
    verify_quote(parts, claim, roots, now, checks)
    if found.statement is not None:
        verify_receipts(parts, claim.statement, policy, checks)
