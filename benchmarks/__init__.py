"""Benchmarks of the backends; each module here runs as `python -m proofml.benchmarks.NAME`."""
