"""LogUp-GKR: many lookups as one sum of fractions, prover and verifier apart."""
