"""The stranger's own tests run where his package is installed: test_stranger.py sees to it."""

collect_ignore = ["stranger_backend"]
