"""The tables of types are those of the `gguf` package."""

from __future__ import annotations

import pytest

from genrec_edge.gguf.types import FILE_TYPES, GGML_TYPES


def test_tables_equal_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf.constants")
    theirs = {int(kind): (kind.name, *constants.GGML_QUANT_SIZES[kind]) for kind in constants.GGMLQuantizationType}
    assert {number: tuple(kind) for number, kind in GGML_TYPES.items()} == theirs
    names = {int(f): f.name.removeprefix("MOSTLY_").removeprefix("ALL_") for f in constants.LlamaFileType}
    names.pop(int(constants.LlamaFileType.GUESSED))
    assert names == FILE_TYPES
