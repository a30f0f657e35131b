"""Estimated sizes of every file type, against the files that llama.cpp writes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.convert.quantization.quantize import NEEDS_IMATRIX, quantize_file
from genrec_edge.convert.quantization.sizes import estimate_bytes
from genrec_edge.engine.bindings import FILE_TYPES
from genrec_edge.gguf.header import read_header
from tests.support.wide_checkpoints import WIDTHS

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.convert.checkpoint.types import Checkpoint

pytestmark = pytest.mark.slow


# A file type named after one of 256-blocks with tables takes seconds for each model: one of them sees those.
CASES = [
    (width, quant)
    for width in WIDTHS
    for quant in FILE_TYPES
    if width == "multiples of 256" or not quant.startswith("IQ") or quant == "IQ4_NL"
]


@pytest.mark.parametrize(("width", "quant"), CASES)
def test_no_file_is_larger_than_planned_nor_much_smaller(
    width: str, quant: str, wide_checkpoints: dict[str, tuple[Checkpoint, Path]], tmp_path: Path
) -> None:
    checkpoint, source = wide_checkpoints[width]
    header = read_header(source)
    imatrix = {t.name: np.ones(t.shape[0], np.float32) for t in header.tensors if len(t.shape) > 1}
    weights = imatrix if quant in NEEDS_IMATRIX else None
    quantize_file(source, tmp_path / "quant.gguf", quant, imatrix=weights, n_threads=1)
    metadata_bytes = estimate_bytes(replace(checkpoint, tensors={}), quant)
    assert header.data_offset <= metadata_bytes == 8 << 20
    real = sum(tensor.n_bytes for tensor in read_header(tmp_path / "quant.gguf").tensors)
    planned = estimate_bytes(checkpoint, quant) - metadata_bytes
    assert real <= planned <= 1.2 * real
