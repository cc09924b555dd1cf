"""Optimistic fraud proofs: trace, commitment, game and ledgers. Nothing is implemented yet."""
