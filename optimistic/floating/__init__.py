"""Optimistic claims about ordinary float models: a published trace, and a bound for each operator.

Two honest machines round differently from the first operator on, so their traces have no common
root to bisect. Instead the claimant publishes every operator's output, and whoever doubts points
at one operator whose claimed output does not follow from its own claimed inputs within a bound
that is part of the claim.

- `plan`: the model at fixed input shapes, as operators over committed tensors.
- `trace`: a claimed run: the tensors, their Merkle roots, and the root over operators.
- `running`, `functions` and one file per family of operators: what IEEE-754 lets a result be.
- `bounds`: those worst cases, or what calibration found of them; which of both, the claim says.
- `check`: one operator of a claimed trace against its bound.
"""
