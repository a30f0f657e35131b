"""The reader of safetensors files against the library that writes them, and against damage."""

from __future__ import annotations

import json
import os
import random
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrec_edge.convert.checkpoint.safetensors import MAX_HEADER_BYTES, read_safetensors
from genrec_edge.errors import ModelInvalidError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
OTHERS = {"F64": torch.float64, "I64": torch.int64, "U8": torch.uint8, "BOOL": torch.bool}


def file_of(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelInvalidError) as caught:
        read_safetensors(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


names = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    layout=st.dictionaries(names, st.tuples(st.sampled_from([*FLOATS, *OTHERS]), shapes), max_size=6),
    metadata=st.none() | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), st.just("x"), min_size=1),
    seed=st.integers(0, 99),
)
def test_what_the_library_writes_is_read_as_it_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    layout: dict[str, tuple[str, list[int]]],
    metadata: dict[str, str] | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    path = tmp_path_factory.getbasetemp() / "library.safetensors"
    written = {name: (torch.randn(shape) * 9).to((FLOATS | OTHERS)[dtype]) for name, (dtype, shape) in layout.items()}
    safetensors.torch.save_file(written, path, metadata)

    found = read_safetensors(path)

    assert found.keys() == written.keys()
    for name, tensor in safetensors.torch.load_file(path).items():
        stored = found[name]
        assert (stored.name, stored.shape, stored.dtype) == (name, tuple(tensor.shape), layout[name][0])
        if stored.dtype in FLOATS and stored.shape:
            values = stored.read_all()
            assert values.dtype == np.float32
            assert np.array_equal(values, tensor.float().numpy())
        else:
            with pytest.raises(ModelInvalidError, match="not weights"):
                stored.read_all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_by_slice_and_by_number_are_copies(tmp_path: Path, dtype: str) -> None:
    tensor = torch.randn(7, 3, 2).to(FLOATS[dtype])
    path = tmp_path / "a.safetensors"
    # The single byte in front leaves the weights at an odd address.
    content = file_of(
        {"odd": entry("U8", [1], [0, 1]), "w": entry(dtype, [7, 3, 2], [1, 1 + tensor.nbytes])},
        b"\0" + bytes(tensor.view(torch.uint8).numpy().tobytes()),
    )
    path.write_bytes(content)
    stored = read_safetensors(path)["w"]
    expected = tensor.float().numpy()

    for rows in (slice(2, 5), slice(0, 0), np.array([6, 0, 0, 3]), np.array([], np.intp)):
        values = stored.read(rows)
        assert values.dtype == np.float32
        assert np.array_equal(values, expected[rows])
        values[...] = 0
    assert np.array_equal(stored.read_all(), expected)
    assert path.read_bytes() == content


def test_every_bfloat16_is_what_torch_makes_of_it(tmp_path: Path) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_of({"w": entry("BF16", [1 << 16], [0, 1 << 17])}, bits.tobytes()))
    expected = torch.from_numpy(bits.copy()).view(torch.bfloat16).float().numpy()
    assert np.array_equal(read_safetensors(path)["w"].read_all(), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"", "0 bytes, too few"),
        (b"1234567", "7 bytes, too few"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "claims 9,223,372,036,854,775,808 bytes"),
        (file_of(b""), "not the JSON"),
        (file_of(b"{"), "not the JSON"),
        (file_of(b"[]"), "not a JSON object"),
        (file_of(b"\xff\xfe{\0}\0"), "not the JSON"),
        (file_of(b'{"__metadata__":{"a":1}}'), "not a table of strings"),
        (file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)), "'NaN' is not a size"),
        (file_of(b'{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', bytes(8)), "'2.0' is not a size"),
        (file_of(b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', bytes(8)), "'-2' is not a size"),
        (file_of(b'{"a":{"dtype":"F32","shape":[' + b"9" * 9999 + b"]}}"), "is not a size"),
        (file_of(b'{"a":1,"a":1}'), "a key occurs twice"),
        (file_of(b'{"\\ud800":1}'), "not the JSON"),
        (file_of({"a": []}), "the entry of 'a'"),
        (file_of({"a": entry() | {"more": 1}}, bytes(8)), "the entry of 'a'"),
        (file_of({"a": entry("F31")}, bytes(8)), "unknown type 'F31'"),
        (file_of({"a": entry(shape=[True, 2])}, bytes(8)), "impossible shape"),
        (file_of({"a": entry(shape=[1 << 61, 0], offsets=[0, 0])}), "impossible shape"),
        (file_of({"a": entry(shape=[1] * 17, offsets=[0, 4])}, bytes(4)), "impossible shape"),
        (file_of({"a": entry(offsets=[8, 0])}, bytes(8)), "impossible data_offsets"),
        (file_of({"a": entry(offsets=[0, 8, 8])}, bytes(8)), "impossible data_offsets"),
        (file_of({"a": entry(offsets=[0, 4])}, bytes(4)), "has 4 bytes, not the 8 of F32 (2,)"),
        (file_of({"a": entry("F4", [3], [0, 1])}, bytes(1)), "has 1 bytes, not the 1.5 of F4"),
        (file_of({"a": entry(offsets=[4, 12])}, bytes(12)), "starts at 4, not at 0"),
        (file_of({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "the data of 'b' starts at 4, not at 8"),
        (file_of({"a": entry()}, bytes(7)), "take 8 bytes, and 7 follow"),
        (file_of({"a": entry()}, bytes(9)), "take 8 bytes, and 9 follow"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, finding: str) -> None:
    assert finding in refusal(tmp_path / "bad.safetensors", content)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, finding in (("pipe", "not a regular file"), (".", "not a regular file"), ("missing", "cannot be read")):
        with pytest.raises(ModelInvalidError, match=finding):
            read_safetensors(tmp_path / name)


def test_bombs_take_little_memory(tmp_path: Path) -> None:
    """A header up to the limit, filled with what takes the most room as Python objects."""
    size = MAX_HEADER_BYTES
    bombs = {
        "deep": b"[" * size,
        "lists of one": b'{"a":[' + b"[0]," * ((size - 10) // 4) + b"0]}",
        "objects of one": b'{"a":[' + b'{"":0},' * ((size - 10) // 7) + b"0]}",
        "keys": b"{" + b",".join(b'"%d":0' % i for i in range(size // 12)) + b"}",
    }
    for name, header in bombs.items():
        path = tmp_path / "bomb.safetensors"
        path.write_bytes(file_of(header))
        tracemalloc.start()
        with pytest.raises(ModelInvalidError):
            read_safetensors(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 256 << 20, name
    assert refusal(tmp_path / "bomb.safetensors", file_of(b"[" * (size + 1))).endswith("more than 4,194,304")


JUNK = (b"0", b"1", b"-", b"9" * 30, b"[", b"null", b'"', b"}", b" ")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return the file with one to three changes in its length word and header."""
    data = bytearray(content)
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(end)
        kind = rng.randrange(6)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at : at + rng.randint(1, 4)] = rng.choice(
                [b"0", b"1", b"-", b"9" * 30, b"[", b"null", b'"', b"}", b" "]
            )
        elif kind == 3:
            del data[rng.randrange(len(data)) :]
        elif kind == 4:  # digits change most meanings and leave the JSON whole
            digits = [i for i in range(8, min(end, len(data))) if chr(data[i]).isdigit()]
            data[rng.choice(digits or [0])] = ord(rng.choice("0123456789"))
        else:
            data[:8] = rng.choice([0, 1, end - 9, end, len(data) - 8, 1 << 40, (1 << 64) - 1]).to_bytes(8, "little")
        end = max(9, min(end, len(data)))
        data.extend(bytes(max(0, 9 - len(data))))
    return bytes(data)


def as_library_reads(content: bytes) -> dict[str, Any] | None:
    try:
        return dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return None


def test_mutated_headers_are_refused_or_read_as_the_library_reads_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    tensors = {
        "model.layers.0.mlp.up_proj.weight": torch.randn(3, 4),
        "model.norm.weight": torch.randn(5).half(),
        "lm_head.weight": torch.randn(2, 2).bfloat16(),
    }
    content = safetensors.torch.save(tensors, {"format": "pt"})
    path = tmp_path / "mutated.safetensors"
    accepted = refused_by_both = stricter = 0
    for _ in range(2000):
        data = mutated(content, rng)
        path.write_bytes(data)
        library = as_library_reads(data)
        try:
            found = read_safetensors(path)
        except ModelInvalidError:
            refused_by_both += library is None
            stricter += library is not None
            continue
        assert library is not None, data
        accepted += 1
        assert {name: (list(t.shape), t.dtype) for name, t in found.items()} == {
            name: (info["shape"], info["dtype"]) for name, info in library.items()
        }
        for name, stored in found.items():
            if stored.dtype == "F32" and stored.shape:
                assert stored.read_all().tobytes() == bytes(library[name]["data"])
    assert accepted > 50
    assert refused_by_both > 1000
    assert stricter < 50
