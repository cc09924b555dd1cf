"""Multi-party computation backends. Nothing is implemented yet."""
