"""Concrete ML: exact integer inference over TFHE.

A model is cut in three. The *head* (what comes before the first weights) and the *tail* (what comes
after the last ones) run in the clear at the owner of the inputs; the *body* runs on ciphertexts.

    cut, trees         where to cut; the body as an ONNX graph, or as arrays of a tree ensemble
    compiler, candidates   search for bits and rounding on calibration samples; the circuit
    check              whether a circuit computes a model
    circuit, program   the public artifact, read strictly; its cryptographic parameters
    server             what server and verifier do: run a circuit with evaluation keys
    owner              what only the owner does: keys, encryption, decryption
    environment, call  the interpreter that has Concrete, and workers that run in it
    clock              why two processes give the same bytes

Cryptography is Zama's Concrete 2.10 (`concrete-python`), the front end Concrete ML 1.9. Neither was
audited here.
"""
