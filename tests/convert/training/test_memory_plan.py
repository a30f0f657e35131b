"""The estimate of memory: which settings need more of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge.convert.checkpoint.open import open_base
from genrec_edge.convert.training.memory_plan import MemoryPlan, memory_plan
from genrec_edge.convert.training.recipe_reader import recipe_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def plan(path: Path, **tables: Any) -> MemoryPlan:
    return memory_plan(recipe_of(tables, "test"), open_base(path))


def test_libraries_count_on_the_host_only() -> None:
    assert MemoryPlan("host", 1, 2, 3, 4, 5).total == 15
    assert MemoryPlan("GPU", 1, 2, 3, 4, 5).total == 14


def test_settings_change_what_they_should(tiny_base: Path) -> None:
    usual = plan(tiny_base)
    half = plan(tiny_base, base={"dtype": "bfloat16"})
    assert half.weights * 2 == usual.weights
    assert half.activations * 2 == usual.activations
    assert half.adapter == usual.adapter  # trained in float32
    assert plan(tiny_base, base={"load_in_4bit": True}).weights < half.weights
    assert plan(tiny_base, lora={"r": 128}).adapter == 2 * usual.adapter
    assert plan(tiny_base, lora={"tokens": True}).adapter > usual.adapter
    assert plan(tiny_base, lora={"whole": ["norm"]}).adapter > usual.adapter
    assert plan(tiny_base, optimizer={"micro_batch": 3}).activations * 2 == usual.activations
    assert plan(tiny_base, data={"targets": "last"}).logits < usual.logits
