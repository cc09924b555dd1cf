"""Starts a worker in an interpreter where proofml is not installed: its files are this one's.

    python -P -s bootstrap.py proofml.worker.child '{"proofml": FOLDER, "proofml.fhe": FOLDER}'

The packages named are taken from these folders, whatever the interpreter has installed, so the
worker and its host never differ in version. Only light modules can be imported this way: the
interpreter has numpy and Concrete, and none of what proofml itself depends on. The module to run is
an argument so that a list of processes shows workers as what they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path


def install(name: str, folder: str) -> None:
    """Make `import name` and its sub-modules read `folder`."""
    spec = importlib.util.spec_from_file_location(
        name, Path(folder) / "__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"{folder}: holds no package {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def main() -> None:
    for name, folder in sorted(json.loads(sys.argv[2]).items()):
        install(name, folder)
    code = importlib.import_module(sys.argv[1]).main()
    sys.stdout.flush()
    # Native thread pools may still run; nothing here needs their goodbyes.
    os._exit(code)


if __name__ == "__main__":
    main()
