"""Write docs/fhe/bad-inputs.md from the table that is tested; run from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# What can be wrong, and what it gives

Written by `tools/fhe_bad_inputs.py` from `tests/fhe/roles/bad_inputs.py`, where each row is tried.
A `UsageError` or `UnsupportedModel` ends a command with exit code 2, a `VerificationError` with 1
and the number of the check ([README.md](README.md#checks)).

| what is wrong | met by | error | check | in its message | tried with |
|---|---|---|---|---|---|
"""


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.fhe.roles.bad_inputs import BAD

    rows = [
        f"| {bad.name} | `{bad.where}` | `{bad.error.__name__}` | {bad.check or ''} | "
        f"{bad.words} | {', '.join(bad.backends)} |\n"
        for bad in BAD
    ]
    (ROOT / "docs" / "fhe" / "bad-inputs.md").write_text(HEAD + "".join(rows), "utf-8")


if __name__ == "__main__":
    main()
