"""Trusted-hardware quotes: parse, verify, appraise. Nothing is implemented yet."""
