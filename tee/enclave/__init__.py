"""The isolated process that runs the model, and the host beside it.

`host` starts `python -m proofml.tee.enclave`, which takes away from itself what it does not need
(`isolation`) before it reads anything, makes its keys, runs models (`stages`) and builds Statements
(`service`). `server` offers a host to several clients over a Unix socket, `client` is theirs.
"""
