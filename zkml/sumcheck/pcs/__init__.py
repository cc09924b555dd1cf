"""The polynomial commitment: trees of interleaved code words, one opening for all claims."""
