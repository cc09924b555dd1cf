"""Simulated Intel evidence of every kind, and how a verifier judges what was done to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from proofml.errors import VerificationError
from proofml.tee import sgx, tdx
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.intel import Body, IntelAuthority, raw_signature, sgx_body, td_body
from tests.tee.conftest import NOW

DATA = bytes(range(64))
BODIES: dict[str, Callable[..., Body]] = {
    "tdx-v4": td_body,
    "tdx-v5": lambda **kind: td_body(version=5, **kind),
    "tdx-v5-td15": lambda **kind: td_body(td15=True, **kind),
    "sgx-v3": sgx_body,
}
#: The signed texts of collateral.
TEXTS = ("tcb_info", "qe_identity")


class Bench:
    """One kind of quote, its honest evidence and its verifier."""

    def __init__(self, authority: IntelAuthority, name: str) -> None:
        self.authority = authority
        self.make = BODIES[name]
        self.platform = Platform.SGX if name.startswith("sgx") else Platform.TDX
        self.module: ModuleType = sgx if self.platform is Platform.SGX else tdx
        self.roots = Roots.vendor().with_simulated([fingerprint(authority.root_der)])
        self.body = self.make(report_data=DATA)
        self.quote = authority.sign(self.body, NOW)
        self.collateral = authority.collateral(NOW, platform=self.platform)

    def verify(
        self,
        quote: bytes | None = None,
        collateral: bytes | None = None,
        *,
        roots: Roots | None = None,
        now: int = NOW,
    ) -> Verified:
        evidence = Attestation(
            self.platform,
            self.quote if quote is None else quote,
            self.collateral if collateral is None else collateral,
        )
        found = self.module.verify(evidence, roots or self.roots, now)
        assert isinstance(found, Verified)
        return found

    def judge(self, *parts: bytes | None, **rest: Any) -> str:
        """The check that refuses, with `by dcap-qvl` behind it where the library alone does."""
        try:
            self.verify(*parts, **rest)
        except VerificationError as error:
            return error.check + (" by dcap-qvl" if "dcap-qvl:" in str(error) else "")
        return "accepted"

    def made(self, **changes: Any) -> bytes:
        return self.authority.collateral(NOW, platform=self.platform, **changes)

    def changed(self, **parts: Any) -> bytes:
        """The honest collateral with other parts in it."""
        return json.dumps({**json.loads(self.collateral), **parts}).encode()

    def signed(self, name: str, change: Callable[[dict[str, Any]], object]) -> bytes:
        """The honest collateral with one text changed and signed anew by the honest key."""
        text = json.loads(json.loads(self.collateral)[name])
        change(text)
        return self.signed_text(name, json.dumps(text))

    def signed_text(self, name: str, text: str) -> bytes:
        key = self.authority.keys["tcb"]
        signature = raw_signature(key, text.encode()).hex()
        return self.changed(**{name: text, f"{name}_signature": signature})


def body_with(body: Body, changes: Mapping[int, int]) -> Body:
    """The same report with other bytes in it: offset -> byte."""
    data = bytearray(body.data)
    for at, value in changes.items():
        data[at] = value
    return Body(body.version, body.kind, bytes(data))
