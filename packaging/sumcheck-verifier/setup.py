"""Copies the files that modules.txt names below `tree`, and packs them with the C kernels.

In a source distribution the checkout is not there, and `tree` is as it was packed.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
TREE = HERE / "tree"
KERNELS = TREE / "proofml/circuits/kernels"


def copy_files() -> None:
    """The modules of the list, and what they are packed with."""
    shutil.rmtree(TREE, ignore_errors=True)
    # A module that is no longer in the list must not stay in the wheel.
    shutil.rmtree(HERE / "build", ignore_errors=True)
    spec = importlib.util.spec_from_file_location("modules", HERE / "modules.py")
    tools = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tools)
    files = {"LICENSE": CHECKOUT / "LICENSE", "proofml/py.typed": CHECKOUT / "src/proofml/py.typed"}
    for module in (HERE / "modules.txt").read_text("utf-8").split():
        path = tools.file_of(module)
        if path is None:
            raise SystemExit(f"{module} is gone; run packaging/sumcheck-verifier/modules.py")
        name = module.replace(".", "/")
        files[f"{name}/__init__.py" if path.name == "__init__.py" else f"{name}.py"] = path
    for path in (CHECKOUT / "circuits/kernels").iterdir():
        if path.suffix in (".c", ".h"):
            files[f"proofml/circuits/kernels/{path.name}"] = path
    for name, path in files.items():
        target = TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def kernel_files(suffix: str) -> list[str]:
    return sorted(str(path.relative_to(HERE)) for path in KERNELS.glob(f"*{suffix}"))


if (CHECKOUT / "src/proofml/__init__.py").is_file():
    copy_files()

# As in the main setup.py.
kernels = Extension(
    "proofml.circuits.kernels._native",
    sources=kernel_files(".c"),
    depends=kernel_files(".h"),
    extra_compile_args=["-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-pthread"],
    extra_link_args=["-pthread"],
    py_limited_api=True,
    optional=True,
)

setup(
    version=re.search(r'__version__ = "(.+)"', (TREE / "proofml/__init__.py").read_text())[1],
    package_dir={"": "tree"},
    packages=sorted(
        ".".join(path.parent.relative_to(TREE).parts) for path in TREE.rglob("__init__.py")
    ),
    package_data={"proofml": ["py.typed"]},
    ext_modules=[kernels],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
