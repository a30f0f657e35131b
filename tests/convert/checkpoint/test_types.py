"""Tensors in chunks of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint import types as checkpoint_module
from genrec_edge.convert.checkpoint.types import Tensor


@given(rows=st.integers(1, 400), columns=st.integers(1, 400), chunk=st.integers(1, 5000), matrix=st.booleans())
def test_chunks_cover_every_row_once_and_hold_no_more_than_they_may(
    rows: int, columns: int, chunk: int, matrix: bool
) -> None:
    shape = (rows, columns) if matrix else (rows,)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_module, "CHUNK_ELEMENTS", chunk)
        chunks = list(Tensor("x", shape, "F32", lambda _rows: np.zeros(0, np.float32)).row_chunks())
    assert [row for part in chunks for row in range(rows)[part]] == list(range(rows))
    row_elements = columns if matrix else 1
    assert all((part.stop - part.start) * row_elements <= max(chunk, row_elements) for part in chunks)
    if len(chunks) > 1:  # and they are as large as they may be
        assert (chunks[0].stop + 1) * row_elements > chunk
