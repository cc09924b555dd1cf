"""A second verifier: docs/sumcheck/protocol.md in plain Python, without a line of proofml.

Slow, for tiny circuits. Section numbers are those of the page. It reads a file of
tests/vectors/sumcheck and makes checks 8 to 23, and 7 for argmax; what it needs of 3.4 and 3.5 it
computes again. Recipes of kind `pair` are not here.
"""
