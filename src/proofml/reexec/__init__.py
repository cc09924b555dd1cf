"""The plainest backend: the verifier runs the model itself and compares. The yardstick."""
