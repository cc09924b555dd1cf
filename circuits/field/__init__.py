"""BabyBear and its degree-5 extension in NumPy: oracle of the C kernels, and their stand-in.

`babybear` holds the base field, the number-theoretic transform and the Reed-Solomon encoding;
`ext5` the extension, once for single elements (tuples of five ints) and once for arrays. Nothing
here is constant time, and nothing has to be: a prover's witness is the prover's own.
Not audited.
"""
