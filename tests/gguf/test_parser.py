"""Metadata and tensor tables: one clear error, within bounded work and memory, on every malformed file."""

from __future__ import annotations

import random
import resource
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.header import TensorInfo, read_header
from genrec_edge.gguf.validate import check_runnable
from tests.support.gguf_bytes import ARRAY, ONE, STRING, U32, array, gguf_bytes, pair, tensor, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HUGE = 1 << 63

MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "starts with b''"),
    "three bytes": (b"GGU", "starts with b'GGU'"),
    "pickle": (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
    "magic alone": (b"GGUF", "the version needs 4 bytes and 0 are left"),
    "version 1": (gguf_bytes(version=1), "GGUF version 1; versions 2 and 3"),
    "version 4": (gguf_bytes(version=4), "GGUF version 4; versions 2 and 3"),
    "version 0": (gguf_bytes(version=0), "GGUF version 0"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 3 in big-endian"),
    "tensor count": (gguf_bytes(counts=(HUGE, 0)), "claims 9,223,372,036,854,775,808 tensors"),
    "tensor count over the cap": (gguf_bytes(counts=(70_000, 0)) + bytes(4_000_000), "claims 70,000 tensors"),
    "key count": (gguf_bytes(counts=(0, 1 << 31)), "claims 2,147,483,648 metadata keys"),
    "key count over the cap": (
        gguf_bytes(counts=(0, 10_000)) + bytes(200_000),
        "claims 10,000 metadata keys",
    ),
    "key length": (gguf_bytes((struct.pack("<Q", HUGE) + bytes(20),)), "a metadata key has 9,223"),
    "empty key": (gguf_bytes((pair(b"", U32, bytes(4)),)), "a metadata key has 0 bytes"),
    "key not UTF-8": (gguf_bytes((pair(b"\xff", U32, bytes(4)),)), "a metadata key is not UTF-8"),
    "duplicate key": (gguf_bytes((ONE, ONE)), "key 'a' comes twice"),
    "unknown kind": (gguf_bytes((pair(b"a", 13, bytes(8)),)), "unknown metadata type 13"),
    "value cut": (gguf_bytes((pair(b"a", U32, b"\1"),)), "the value of 'a' needs 4 bytes and 1 are left"),
    "string length": (
        gguf_bytes((pair(b"a", STRING, struct.pack("<Q", HUGE)),)),
        "the value of 'a' has 9,223",
    ),
    "string cut": (gguf_bytes((pair(b"a", STRING, struct.pack("<Q", 9) + b"x"),)), "9 bytes and 1 are left"),
    "string not UTF-8": (gguf_bytes((pair(b"a", STRING, text(b"ab\xc3")),)), r"not UTF-8 \(byte 47 of"),
    "array of 2^40 (49 bytes)": (
        gguf_bytes((pair(b"a", ARRAY, array(0, 1 << 40)),)),
        "claims 1,099,511,627,776",
    ),
    "array of 2^63 strings": (gguf_bytes((pair(b"a", ARRAY, array(STRING, HUGE)),)), "claims 9,223,372"),
    "array whose bytes overflow": (gguf_bytes((pair(b"a", ARRAY, array(10, 1 << 61)),)), "claims 2,305,843"),
    "array of arrays": (
        gguf_bytes((pair(b"a", ARRAY, array(ARRAY, 1, array(0, 1, b"x"))),)),
        "array of arrays",
    ),
    "array of unknown": (
        gguf_bytes((pair(b"a", ARRAY, array(77, 1)),)),
        "array of the unknown metadata type 77",
    ),
    "long array with a long string": (
        gguf_bytes((pair(b"a", ARRAY, array(STRING, 70, struct.pack("<Q", 1 << 40) + bytes(600))),)),
        "an element of 'a' needs 1,099,511,627,776 bytes",
    ),
    "long array that ends early": (
        gguf_bytes((pair(b"a", ARRAY, array(STRING, 70, text(bytes(500)) + bytes(8 * 20))),)),
        "needs 8 bytes and 0 are left",
    ),
    "alignment 0": (gguf_bytes((pair(b"general.alignment", U32, bytes(4)),)), "alignment is 0"),
    "alignment 3": (gguf_bytes((pair(b"general.alignment", U32, b"\x03\0\0\0"),)), "alignment is 3"),
    "alignment text": (gguf_bytes((pair(b"general.alignment", STRING, text(b"32")),)), "alignment is '32'"),
    "tensor name length": (gguf_bytes((), (text(b"n" * 64) + bytes(24),)), "a tensor's name has 64 bytes"),
    "five dimensions": (gguf_bytes((), (tensor(b"t", (1,) * 5),), 64), "'t' has 5 dimensions"),
    "no dimensions": (gguf_bytes((), (tensor(b"t", ()),), 64), "'t' has 0 dimensions"),
    "zero dimension": (gguf_bytes((), (tensor(b"t", (4, 0)),), 64), r"impossible shape \(4, 0\)"),
    "shape overflow": (gguf_bytes((), (tensor(b"t", (1 << 32, 1 << 32)),), 64), "impossible shape"),
    "shape that wraps to small": (gguf_bytes((), (tensor(b"t", (1 << 62, 4)),), 64), "impossible shape"),
    "unknown tensor type": (gguf_bytes((), (tensor(b"t", (32,), 99),), 64), "unknown type 99"),
    "removed tensor type": (gguf_bytes((), (tensor(b"t", (32,), 4),), 64), "unknown type 4"),
    "half a block": (gguf_bytes((), (tensor(b"t", (33,), 8),), 64), "33 elements, not whole Q8_0 blocks"),
    "offset past the end": (gguf_bytes((), (tensor(b"t", (8,), 0, HUGE),), 64), "'t' starts at byte"),
    "unaligned": (gguf_bytes((), (tensor(b"t", (8,), 0, 4),), 64), "'t' starts at byte"),
    "overlap": (
        gguf_bytes((), (tensor(b"t", (16,)), tensor(b"u", (16,), 0, 32)), 256),
        "'u' starts at byte .* put it at byte",
    ),
    "gap": (gguf_bytes((), (tensor(b"t", (8,)), tensor(b"u", (8,), 0, 64)), 256), "'u' starts at byte"),
    "duplicate tensor": (
        gguf_bytes((), (tensor(b"t", (8,)), tensor(b"t", (8,), 0, 32)), 64),
        "'t' comes twice",
    ),
    "data cut": (gguf_bytes((), (tensor(b"t", (8,)), tensor(b"u", (8,), 0, 32)), 63), "'u' ends at byte"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_named_with_finding_and_byte(tmp_path: Path, name: str) -> None:
    contents, found = MALFORMED[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(contents)
    with pytest.raises(ModelInvalidError, match=found) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    assert f"of {len(contents):,})" in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_the_small_builder_makes_good_files(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(gguf_bytes((ONE,), (tensor(b"t", (8,)), tensor(b"u", (64,), 8, 32)), 32 + 68, version=2))
    header = read_header(path)
    assert header.version == 2
    assert header.metadata == {"a": 1}
    start = header.data_offset
    assert header.tensors == (
        TensorInfo("t", (8,), "F32", start, 32),
        TensorInfo("u", (64,), "Q8_0", start + 32, 68),
    )
    assert header.n_params == 72


def test_no_truncated_file_passes(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", n_tokens=70)
    whole = path.read_bytes()
    header = read_header(path)
    end = max(t.offset + t.n_bytes for t in header.tensors)
    for cut in [*range(0, header.data_offset, 7), *range(header.data_offset, end, 100), end - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelInvalidError):
            read_header(path)
    path.write_bytes(whole[:end])
    assert read_header(path).tensors == header.tensors


def n_calls(function: Callable[[], object]) -> int:
    """Return how many calls, of Python and of C functions, a function makes: its work, on any machine."""
    n = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal n
        n += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return n


@pytest.mark.slow
def test_2500_mutants_read_or_raise_within_work_and_memory(tmp_path: Path, tiny_gguf: Callable[..., Path]) -> None:
    original = tiny_gguf(tmp_path / "tiny.gguf", n_tokens=70)
    whole = original.read_bytes()
    header_bytes = read_header(original).data_offset
    rng = random.Random(20261122)
    path = tmp_path / "mutant.gguf"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    messages: list[str] = []

    def read() -> None:
        try:
            check_runnable(read_header(path))
        except ModelInvalidError as e:
            messages.append(e.message)

    path.write_bytes(whole)
    calls_of_the_original = n_calls(read)
    assert messages == []
    most_calls = 0
    for _ in range(2500):
        path.write_bytes(mutant(rng, whole, header_bytes))
        most_calls = max(most_calls, n_calls(read))
    assert 1500 < len(messages) < 2500
    assert max(map(len, messages)) < 2000
    assert most_calls < 2 * calls_of_the_original
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def mutant(rng: random.Random, whole: bytes, header_bytes: int) -> bytes:
    """Flip bits, cut, or blow up what may be a length, anywhere in the header."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(header_bytes)
        kind = rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            length = rng.choice([0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, 1 << 63, (1 << 64) - 1])
            data[at : at + 8] = struct.pack("<Q", length)
        elif kind == 3:
            data[at : at + 4] = struct.pack("<I", rng.choice([0, 5, 9, 13, 1 << 31, (1 << 32) - 1]))
        elif rng.random() < 0.2:
            del data[at:]
            header_bytes = max(at, 1)
            data += b"" if data else b"G"
    return bytes(data)
