"""Packing an adapter: what is in the folder, what is merged out of it, the way back, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.convert.pipeline import shipped_model
from genrec_edge.convert.pipeline.pack import main, pack_adapter
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.pipeline.run import convert, prepare
from genrec_edge.errors import ModelInvalidError
from genrec_edge.hub.registry import load_registry
from tests.support.gguf_files import write_tiny_llama
from tests.support.packed_adapters import PREFIX, RECORD, ROWS, TOKENS, differences_in, rewrite, write_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("own_home")

PLAIN, PACKED = "adapter_model.safetensors", "adapter_deltas.safetensors"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def folders(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a base, an adapter of it, the adapter packed, and that unpacked again."""
    root = tmp_path_factory.mktemp("packed")
    write_folder(read_gguf(tiny_llama), root / "base", "F16")
    adapter = write_adapter(root / "plain", read_gguf(tiny_llama))
    (adapter / "README.md").write_text("of films\n")
    (adapter / "more").mkdir()
    (adapter / "more" / PLAIN).write_bytes(b"another")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(root / "home"))
        assert pack_adapter(adapter, root / "base", root / "packed") == root / "packed" / PACKED
        assert pack_adapter(root / "packed", root / "base", root / "unpacked", unpack=True) == root / "unpacked" / PLAIN
    return root


def base_values(root: Path) -> dict[str, NDArray[np.float32]]:
    stored = load_file(root / "base" / "model.safetensors")
    return {name: values.astype(np.float32) for name, values in stored.items()}


def merged(root: Path, adapter: str, out: Path) -> dict[str, NDArray[np.float32]]:
    job = ConversionJob(
        root / "base", out / adapter, "tiny", "MIT", ("F16",), None, ((root / adapter, 1.0),), verify="none"
    )
    return {name: tensor.read_all() for name, tensor in read_gguf(convert(prepare(job)).files["F16"]).tensors.items()}


def test_a_packed_folder_has_all_other_files(folders: Path) -> None:
    for name, weights in (("packed", PACKED), ("unpacked", PLAIN)):
        files = {str(p.relative_to(folders / name)) for p in (folders / name).rglob("*") if p.is_file()}
        assert files == {weights, "README.md", "adapter_config.json", "genrec_edge.json", f"more/{PLAIN}"}
        for file in files - {weights}:
            assert (folders / name / file).read_bytes() == (folders / "plain" / file).read_bytes()


def test_the_file_says_what_it_is_and_what_it_is_a_difference_to(folders: Path) -> None:
    expected = hashlib.sha256()
    for name, values in sorted(base_values(folders).items()):
        expected.update(f"{name} {'x'.join(str(n) for n in values.shape)}\n".encode() + values.astype("<f4").tobytes())
    with safe_open(folders / "packed" / PACKED, "numpy") as file:
        assert file.metadata() == {"schema": "genrec-edge/deltas@1", "base_sha256": expected.hexdigest()}


def test_matrices_are_off_by_half_a_step_at_most_and_the_rest_is_as_it_was(folders: Path) -> None:
    base, plain = base_values(folders), load_file(folders / "plain" / PLAIN)
    packed, found = load_file(folders / "packed" / PACKED), differences_in(folders / "packed" / PACKED)
    matrices = {ROWS, *(f"{PREFIX}model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1))}
    assert found.keys() == matrices
    assert packed.keys() == plain.keys() - matrices | {
        f"{key}.delta{end}" for key in matrices for end in ("", "_scale")
    }
    for key in plain.keys() - matrices:
        assert packed[key].dtype == plain[key].dtype == np.float16
        assert packed[key].tobytes() == plain[key].tobytes()
    for key, (differences, halves) in found.items():
        before = base[EMBEDDING][TOKENS] if key == ROWS else base[key.removeprefix(PREFIX)]
        assert packed[f"{key}.delta"].shape == plain[key].shape
        assert differences.any(axis=1).all()
        assert (np.abs(before + differences - plain[key]) <= halves + 1e-6).all()


def test_the_same_weights_are_merged_packed_and_unpacked(folders: Path, tmp_path: Path) -> None:
    """They are the base and the differences, worked out by hand, and nearly those of the adapter before."""
    base, differences = base_values(folders), differences_in(folders / "packed" / PACKED)
    plain, packed, unpacked = (merged(folders, name, tmp_path) for name in ("plain", "packed", "unpacked"))
    assert plain.keys() == packed.keys() == unpacked.keys()
    changed = set()
    for name, values in packed.items():
        assert np.array_equal(values, unpacked[name])
        key = ROWS if name == EMBEDDING else f"{PREFIX}{name}"
        if key not in differences:
            assert np.array_equal(values, plain[name])
            continue
        changed.add(name)
        added, halves = differences[key]
        expected, allowed = base[name].astype(np.float64), np.zeros(base[name].shape)
        at = TOKENS if key == ROWS else slice(None)
        expected[at] += added
        allowed[at] = halves
        rounding = 2.0**-11 * np.abs(expected) + 1e-6  # of half floats
        assert (np.abs(values - expected) <= rounding).all()
        assert (np.abs(values - plain[name]) <= allowed + 2 * rounding).all()
        assert not np.array_equal(values, plain[name])
    assert len(changed) == 3


def test_the_base_may_be_another_file_of_the_same_weights(folders: Path, tmp_path: Path) -> None:
    job = ConversionJob(folders / "base", tmp_path / "out", "tiny", "MIT", ("F16",), None, verify="none")
    gguf_path = convert(prepare(job)).files["F16"]
    again = pack_adapter(folders / "plain", gguf_path, tmp_path / "again")
    assert again.read_bytes() == (folders / "packed" / PACKED).read_bytes()


def test_a_packed_adapter_of_some_layers_is_shipped(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is cut to the layers of the record before it is hashed, by `pack` and when a model is pulled."""
    whole = read_gguf(tiny_llama)
    second = {name.replace(".1.", ".0."): t for name, t in whole.tensors.items() if "layers.0." not in name}
    adapter = write_adapter(tmp_path / "plain" / "films", replace(whole, tensors=second))
    (adapter / "genrec_edge.json").write_text(json.dumps({**RECORD, "layers": "1", "layers_of": 2}))
    pack_adapter(adapter, tiny_llama, tmp_path / "packed" / "films")
    known = replace(load_registry().models["genrec-films"], adapter="films", quant="F16")
    made = {}
    for form in ("plain", "packed"):
        monkeypatch.setattr(shipped_model, "shipped_adapter_path", lambda name, form=form: tmp_path / form / name)
        shipped_model.make_tuned_model(tiny_llama, tmp_path / f"{form}.gguf", known)
        made[form] = read_gguf(tmp_path / f"{form}.gguf")
    name = "model.layers.0.mlp.down_proj.weight"
    differences, halves = differences_in(tmp_path / "packed" / "films" / PACKED)[f"{PREFIX}{name}"]
    expected = whole.tensors[name.replace(".0.", ".1.")].read_all() + differences
    assert np.abs(made["packed"].tensors[name].read_all() - expected).max() <= 2.0**-11 * np.abs(expected).max()
    error = np.abs(made["packed"].tensors[name].read_all() - made["plain"].tensors[name].read_all())
    assert 0 < error.max() <= halves.max() + 2.0**-10 * np.abs(expected).max()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Return the exit code and the only line of a call."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert isinstance(caught.value.code, int)
    return caught.value.code, said.err


def test_the_command_packs_and_says_how_large_it_is(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(folders / "plain"), str(folders / "base"), str(tmp_path / "out")])
    path = tmp_path / "out" / PACKED
    assert path.read_bytes() == (folders / "packed" / PACKED).read_bytes()
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size:,} bytes\n"


@pytest.mark.parametrize(
    ("words", "code", "finding"),
    [
        (["plain", "base", "packed"], 2, "exists"),
        (["packed", "base", "new"], 2, f"{PACKED} is packed already; give --unpack"),
        (["--unpack", "plain", "base", "new"], 2, f"{PLAIN} is not packed"),
        (["plain", "none", "new"], 2, "does not exist"),
        (["none", "base", "new"], 2, "is not a folder"),
        (["base", "base", "new"], 5, f"has no {PLAIN}"),
        (["plain", "base", "plain/new"], 2, "lies in the adapter"),
        (["plain", "packed", "new"], 5, "config.json cannot be read"),
    ],
)
def test_calls_that_make_no_sense_are_one_line(
    words: list[str], code: int, finding: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = refused(capsys, *(word if word.startswith("-") else folders / word for word in words))
    assert found[0] == code
    assert finding in found[1]
    assert not (folders / "new").exists()


def test_what_cannot_be_packed_is_named_and_nothing_is_left(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    lora = shutil.copytree(folders / "plain", tmp_path / "lora")
    (lora / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}')
    rewrite(lora / PLAIN, {name: values[:0] for name, values in load_file(lora / PLAIN).items() if "lora" not in name})
    code, line = refused(capsys, lora, folders / "base", out)
    assert (code, "has no whole matrices and no rows of tokens" in line) == (2, True)
    piped = shutil.copytree(folders / "plain", tmp_path / "piped")
    os.mkfifo(piped / "pipe")
    code, line = refused(capsys, piped, folders / "base", out)
    assert (code, "pipe is neither a file nor a folder" in line) == (2, True)
    huge = shutil.copytree(folders / "plain", tmp_path / "huge")
    rows = load_file(huge / PLAIN)[ROWS].astype(np.float32)
    rows[1, 1] = 1e9
    rewrite(huge / PLAIN, {ROWS: rows})
    code, line = refused(capsys, huge, folders / "base", out)
    assert (code, "model.embed_tokens.weight of the base is not finite, or too large" in line) == (5, True), line
    assert {path.name for path in tmp_path.iterdir()} == {"home", "huge", "lora", "piped"}


def test_another_base_is_refused_also_by_the_way_back(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1)
    code, line = refused(capsys, "--unpack", folders / "packed", other, tmp_path / "out")
    assert code == 5
    assert f"holds differences to another base: the weights of {other} have the sha256" in line


def test_weights_in_both_forms_are_refused(folders: Path, tmp_path: Path) -> None:
    both = shutil.copytree(folders / "plain", tmp_path / "both")
    shutil.copy(folders / "packed" / PACKED, both)
    with pytest.raises(ModelInvalidError, match=f"has its weights twice, as {PLAIN} and as {PACKED}"):
        pack_adapter(both, folders / "base", tmp_path / "out")
