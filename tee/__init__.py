"""Trusted-hardware quotes: parse, verify, appraise; and a simulator that says so.

Every platform has one module with three steps kept apart: `parse` turns bytes into a typed quote,
`verify` checks signatures, certificates and collateral down to a root that the verifier holds,
`appraise` holds what was verified against a policy.
"""
