"""Evidence from hardware, and simulated roots that are made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.simulator.aws import AwsAuthority
from proofml.tee.simulator.intel import IntelAuthority

ROOT = Path(__file__).resolve().parents[2]
#: When the simulated roots were made: 2025-11-24T16:00:00Z.
NOW = 1764000000


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of evidence from public projects; tests that want it skip where it is absent."""
    named = os.environ.get("PROOFML_VECTORS")
    folder = Path(named) if named else ROOT.parent / "shared" / "vectors"
    if not (folder / "tee").is_dir():
        pytest.skip(f"no evidence from hardware in {folder} (PROOFML_VECTORS names the folder)")
    return folder


@pytest.fixture(scope="session")
def intel() -> IntelAuthority:
    return IntelAuthority.create(NOW)


@pytest.fixture(scope="session")
def amd() -> AmdAuthority:
    """RSA-4096, three times: seconds."""
    return AmdAuthority.create(NOW)


@pytest.fixture(scope="session")
def aws() -> AwsAuthority:
    return AwsAuthority.create(NOW)
