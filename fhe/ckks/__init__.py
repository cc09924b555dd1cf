"""CKKS by TenSEAL: ONNX compiled to a program of rotations, products and rescales on SEAL.

    compiler      model, calibration samples -> circuit (`circuit`): parameters, program, record
    simulate      the program in the clear; `noise` estimates what encryption adds to it
    server        run, trace, replay: evaluation keys and ciphertexts only
    client        keygen, encrypt, decrypt: what uses a secret key; no other module imports it

Cheon, Kim, Kim, Song: Homomorphic encryption for arithmetic of approximate numbers, ASIACRYPT 2017
(ePrint 2016/421), in residue number systems as SEAL implements it (ePrint 2018/931).

A run is integer arithmetic modulo primes on ciphertexts, keys and encoded constants. The constants
are encoded to integers by `encoding`, from IEEE operations in one fixed order, and nothing samples
or encrypts on the server's side: the same inputs give the same bytes in every process. The module
was not audited.
"""
