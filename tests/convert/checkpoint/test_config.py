"""RoPE scaling, against transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from genrec_edge.convert.checkpoint.config import RopeScaling
from tests.support.model_configs import SHAPE

pytestmark = pytest.mark.slow


@given(
    factor=st.floats(1.5, 64),
    low=st.floats(0.5, 4),
    more=st.floats(0.5, 8),
    base=st.floats(1e3, 1e7),
    context=st.integers(64, 1 << 17),
    head_size=st.sampled_from([16, 64, 128]),
)
def test_divisors_are_those_of_transformers(
    factor: float, low: float, more: float, base: float, context: int, head_size: int
) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": base,
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": low + more,
        "original_max_position_embeddings": context,
    }
    config = transformers.LlamaConfig(**SHAPE, head_dim=head_size, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1 / base ** (np.arange(0, head_size, 2) / head_size)
    found = RopeScaling("llama3", factor, context, low, low + more).divisors(base, head_size)
    assert np.allclose(plain / found, scaled.numpy(), rtol=1e-4)
