"""Entry point of the isolated process; see `process`."""

import os
import sys

from proofml.tee.enclave.process import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    # Native thread pools may still run; nothing here needs their goodbyes.
    os._exit(code)
