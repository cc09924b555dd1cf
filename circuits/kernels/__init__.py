"""The arithmetic of the native prover and verifier in C, over NumPy arrays.

One shared library for all instruction sets, written once over a vector type (`lanes_*.h`,
`body_*.h`) and chosen when it is loaded; see `api.h` for what each function does and
`library` for the levels. Where it is not available, the same functions exist in NumPy
(`proofml.circuits.field`, `proofml.zkml.sumcheck`). Results are the same bit for bit.

Not audited, and not constant time: a prover's secrets are safe from those who see its proofs or
its timing only as far as the protocol says, which is not zero-knowledge.
"""

from proofml.circuits.kernels.claims import Claim, Tree
from proofml.circuits.kernels.hashing import (
    absorb,
    challenge,
    chunk_trees,
    grind,
    indices,
    merkle,
    merkle_open,
    merkle_verify,
    seed,
    sha256,
)
from proofml.circuits.kernels.library import (
    LEVELS,
    BadBytes,
    available,
    level,
    set_level,
    set_threads,
    threads,
)
from proofml.circuits.kernels.provers import logup_prove, open_prove, product_prove
from proofml.circuits.kernels.vectors import (
    bb_mul,
    contract_ext,
    contract_i8,
    contract_i32,
    e5_mul,
    encode,
    encode_ext,
    eq_table,
)
from proofml.circuits.kernels.verify import (
    LogupResult,
    logup_verify,
    rounds_verify,
    rows_eval_ext,
    rows_fold_base,
    rows_fold_ext,
)

__all__ = [
    "LEVELS",
    "BadBytes",
    "Claim",
    "LogupResult",
    "Tree",
    "absorb",
    "available",
    "bb_mul",
    "challenge",
    "chunk_trees",
    "contract_ext",
    "contract_i8",
    "contract_i32",
    "e5_mul",
    "encode",
    "encode_ext",
    "eq_table",
    "grind",
    "indices",
    "level",
    "logup_prove",
    "logup_verify",
    "merkle",
    "merkle_open",
    "merkle_verify",
    "open_prove",
    "product_prove",
    "rounds_verify",
    "rows_eval_ext",
    "rows_fold_base",
    "rows_fold_ext",
    "seed",
    "set_level",
    "set_threads",
    "sha256",
    "threads",
]
