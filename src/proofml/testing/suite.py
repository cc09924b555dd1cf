"""The suite itself: an empty class with a `case` is a backend's conformance test."""

from __future__ import annotations

from inspect import getattr_static
from typing import Any, ClassVar

import pytest

from proofml.testing.case import Case
from proofml.testing.crashes import CrashTests
from proofml.testing.forged import ForgeryTests
from proofml.testing.harness import Harness
from proofml.testing.honest import HonestTests
from proofml.testing.hostile import HostileTests
from proofml.testing.sealing import SealingTests


class ConformanceSuite(HonestTests, ForgeryTests, HostileTests, CrashTests, SealingTests):
    """Derive a class whose name begins with `Test` and give it a `case`.

    The fixture `harness` holds the honest proof, made once a class; a backend's own attacks can
    use it too, in further test methods.
    """

    case: ClassVar[Case]
    #: Whether the tests of sealing are part of this class; by default where the case says how. A
    #: class whose case is made later, by a descriptor, says so itself.
    seals: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        case = getattr_static(cls, "case", None)
        if cls.seals or (isinstance(case, Case) and case.sealing is not None):
            return
        for name in vars(SealingTests):
            if name.startswith("test_") and name not in vars(cls):
                setattr(cls, name, None)  # pytest collects what can be called

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory: pytest.TempPathFactory) -> Harness:
        return Harness(cls.case, tmp_path_factory.mktemp(cls.case.backend))
