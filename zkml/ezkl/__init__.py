"""EZKL backend: halo2 proofs with KZG commitments over BN254, through the `ezkl` package.

EZKL's own verifier checks a halo2 proof under a key that it is handed; it does not know which
model, which scales or which context the proof belongs to. What this package adds is listed as
numbered checks in `backend.py` and carried out in `verifier.py`.
"""
