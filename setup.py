"""Lists the sub-packages of every mapped room and the C kernels; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOMS = ("zkml", "circuits", "optimistic", "fhe", "mpc", "tee", "benchmarks")
HERE = Path(__file__).parent
KERNELS = Path("circuits/kernels")


def packages() -> list[str]:
    found = ["proofml", *(f"proofml.{name}" for name in find_packages(str(HERE / "src/proofml")))]
    for room in ROOMS:
        found.append(f"proofml.{room}")
        found.extend(f"proofml.{room}.{name}" for name in find_packages(str(HERE / room)))
    return found


def kernel_files(suffix: str) -> list[str]:
    return sorted(str(KERNELS / path.name) for path in (HERE / KERNELS).glob(f"*{suffix}"))


# A plain shared library, loaded by ctypes: it uses nothing of Python, so one build serves every
# version. Without a compiler the package installs all the same and falls back to NumPy. No -march:
# each file names its instruction set itself, and the machine's is looked up when it is loaded.
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
    packages=packages(),
    ext_modules=[kernels],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
