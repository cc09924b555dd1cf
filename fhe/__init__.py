"""Homomorphic encryption backends. Nothing is implemented yet."""
