"""What a GGUF file is made of: the numbers of the format, and the records its header is read into.

Source of the numbers: `gguf/constants.py` of the `gguf` package 0.19.0, which the runtime does not need; a
test compares the tables.
"""

from __future__ import annotations

import math
import reprlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class GgmlType(NamedTuple):
    """A tensor type: every `block_elements` elements of a row take `block_bytes` bytes."""

    name: str
    block_elements: int
    block_bytes: int


GGML_TYPES = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4),
    27: GgmlType("I64", 1, 8),
    28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
}

FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""`general.file_type`: the type of most tensors, as in file names."""

SCALARS = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
"""Metadata types of fixed size: name and layout."""

STRING = 8
ARRAY = 9

SHORT_ARRAY = 64
"""The most elements of an array that are kept; longer arrays stay in the file."""

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array of the metadata. `values` holds its elements when there are at most `SHORT_ARRAY` of them.

    `start` and `end` are the file offsets of the raw elements. `kind` is "string" or a name like "int32".
    """

    kind: str
    count: int
    start: int
    end: int
    values: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `shape` has ggml's order, row length first; `offset` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself; `spans` are the file offsets of each key's type and value."""

    path: Path
    version: int
    metadata: Mapping[str, Scalar | ArrayInfo]
    spans: Mapping[str, tuple[int, int]]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    file_size: int

    @property
    def architecture(self) -> str:
        """The value of `general.architecture`, or "" if there is none."""
        value = self.metadata.get("general.architecture", "")
        return value if isinstance(value, str) else ""

    @property
    def n_params(self) -> int:
        """The number of weights of all tensors."""
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def quant(self) -> str:
        """The file type as in file names ("Q8_0"), or "unknown"."""
        value = self.metadata.get("general.file_type")
        return FILE_TYPES.get(value, "unknown") if isinstance(value, int) else "unknown"


def shown(value: object) -> str:
    """Return a value of the metadata as a message shows it, shortened."""
    if value is None:
        return "missing"
    if isinstance(value, ArrayInfo):
        return f"a list of {value.count} {value.kind}"
    return reprlib.repr(value)
