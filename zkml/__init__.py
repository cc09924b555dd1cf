"""Zero-knowledge proofs of inference."""
