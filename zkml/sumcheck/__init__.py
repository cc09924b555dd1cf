"""The native transparent prover: sumchecks over BabyBear, LogUp-GKR, BaseFold openings."""
