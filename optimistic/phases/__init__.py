"""The phases of a dispute, in order: trace, operator, cells, chunk, sums, summand.

`positions` says where a dispute can stand; each other file has the moves of one kind of place, as
pure functions from a position and a move to the next position, or to the end.
"""
