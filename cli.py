"""`python cli.py` from a checkout that was installed with `pip install -e .`."""

from proofml.cli import main

if __name__ == "__main__":
    main()
