"""Lists the sub-packages of every mapped room; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = ("zkml", "circuits", "optimistic", "fhe", "mpc", "tee", "benchmarks")
HERE = Path(__file__).parent


def packages() -> list[str]:
    found = ["proofml", *(f"proofml.{name}" for name in find_packages(str(HERE / "src/proofml")))]
    for room in ROOMS:
        found.append(f"proofml.{room}")
        found.extend(f"proofml.{room}.{name}" for name in find_packages(str(HERE / room)))
    return found


setup(packages=packages())
