"""NumPy twins of the three prover kernels in C: oracle of the tests, and the prover without them.

Each function has the signature of its namesake in `proofml.circuits.kernels`, writes the same
bytes and leaves the transcript in the same state.
"""
