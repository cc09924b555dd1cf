"""The suite itself: an empty class with a `case` is a backend's conformance test."""

from __future__ import annotations

from typing import ClassVar

import pytest

from proofml.testing.case import Case
from proofml.testing.crashes import CrashTests
from proofml.testing.forged import ForgeryTests
from proofml.testing.harness import Harness
from proofml.testing.honest import HonestTests
from proofml.testing.hostile import HostileTests


class ConformanceSuite(HonestTests, ForgeryTests, HostileTests, CrashTests):
    """Derive a class whose name begins with `Test` and give it a `case`.

    The fixture `harness` holds the honest proof, made once a class; a backend's own attacks can
    use it too, in further test methods.
    """

    case: ClassVar[Case]

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory: pytest.TempPathFactory) -> Harness:
        return Harness(cls.case, tmp_path_factory.mktemp(cls.case.backend))
