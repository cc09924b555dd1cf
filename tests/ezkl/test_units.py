"""The small parts: field elements, settings, sections, the wrapped graph, policy, options, strings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import ezkl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from proofml.backend import Context, Request
from proofml.errors import UnsupportedModel, UsageError, VerificationError
from proofml.fields import FieldError
from proofml.model import Model
from proofml.policy import Policy
from proofml.statement import Computation, Visibility
from proofml.store import Store
from proofml.zkml.ezkl.backend import EzklBackend
from proofml.zkml.ezkl.evidence import ProofBlob
from proofml.zkml.ezkl.field import (
    R,
    decode,
    dequantise,
    encode,
    is_canonical,
    quantise,
)
from proofml.zkml.ezkl.fidelity import measure
from proofml.zkml.ezkl.operators import SUPPORTED, obstacles
from proofml.zkml.ezkl.params import BOUNDS, KIND, Options
from proofml.zkml.ezkl.policy import EzklPolicy
from proofml.zkml.ezkl.record import Record
from proofml.zkml.ezkl.settings import MAX_SETTINGS_BYTES, Settings, canonical_settings
from proofml.zkml.ezkl.srs import (
    CEREMONY,
    MAX_LOGROWS,
    adopt,
    check_file,
    find,
    find_ceremony,
    generate,
    import_file,
    known,
    srs_size,
)
from proofml.zkml.ezkl.wrap import (
    STATEMENT_INPUT,
    STATEMENT_OUTPUT,
    WORDS,
    statement_words,
    wrap,
)

from .models import FLOAT, X, constant, graph, mlp, one
from .workshop import Workshop
