"""`genrec-edge convert` among files of 8-bit differences made to break it: one line for each, and exit code 5."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from genrec_edge import cli
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.pipeline.pack import pack_adapter
from tests.support.gguf_files import write_tiny_llama
from tests.support.packed_adapters import DOWN, PREFIX, ROWS, rewrite, write_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("own_home")

NAME = "adapter_deltas.safetensors"
LORA_A = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"
NORM = f"{PREFIX}model.norm.weight"
NOTHING: NDArray[np.float32] = np.zeros(0, np.float32)
STEPS, SCALES = np.ones((32, 64), np.int8), np.full((32, 2), 0.01, np.float16)
SCHEMA, SHA256 = "genrec-edge/deltas@1", "0" * 64


@pytest.fixture(scope="module")
def packed(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(root / "home"))
        return pack_adapter(write_adapter(root / "plain", read_gguf(tiny_llama)), tiny_llama, root / "packed").parent


def convert(base: Path, adapter: Path, out: Path) -> tuple[int, str]:
    """Return the exit code and what is said on stderr."""
    words: list[object] = ["convert", "--base", base, "--adapter", adapter, "--out", out]
    words += ["--license", "MIT", "--quant", "F16", "--verify", "none", "--quiet"]
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert (result.exit_code == 0) == out.is_dir()
    return result.exit_code, result.stderr


def assert_refused(base: Path, adapter: Path, out: Path, finding: str) -> None:
    code, said = convert(base, adapter, out)
    assert code == 5
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert finding in said
    assert str(adapter) in said


def scale_with(value: float) -> NDArray[np.float16]:
    scales = SCALES.copy()
    scales[31, 1] = value
    return scales


WRONG: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "steps of another type": ({f"{DOWN}.delta": STEPS.astype(np.uint8)}, f"'{DOWN}.delta' is U8 of shape (32, 64)"),
    "steps that are halves": ({f"{DOWN}.delta": STEPS.astype(np.float16)}, f"'{DOWN}.delta' is F16 of shape (32, 64)"),
    "a row of steps": ({f"{DOWN}.delta": STEPS[0]}, f"'{DOWN}.delta' is I8 of shape (64,), not a matrix of I8"),
    "scales of another type": (
        {f"{DOWN}.delta_scale": SCALES.astype(np.float32)},
        f"'{DOWN}.delta' has a .delta_scale that is F32 of shape (32, 2), not F16 of shape (32, 2)",
    ),
    "scales of too few blocks": ({f"{DOWN}.delta_scale": SCALES[:, :1].copy()}, "F16 of shape (32, 1), not F16"),
    "scales of too many rows": ({f"{DOWN}.delta_scale": np.ones((33, 2), np.float16)}, "F16 of shape (33, 2), not F16"),
    "no scales": ({f"{DOWN}.delta_scale": NOTHING}, f"'{DOWN}.delta' has no .delta_scale"),
    "no steps": ({f"{DOWN}.delta": NOTHING}, f"'{DOWN}.delta_scale' has no '{DOWN}.delta'"),
    "neither": (
        {f"{ROWS}.delta": NOTHING, f"{ROWS}.delta_scale": NOTHING},
        "'embed_tokens' of trainable_token_indices has no tensor",
    ),
    "a scale of no number": ({f"{DOWN}.delta_scale": scale_with(np.nan)}, "values that are negative or not finite"),
    "an infinite scale": ({f"{DOWN}.delta_scale": scale_with(np.inf)}, "values that are negative or not finite"),
    "a negative scale": ({f"{DOWN}.delta_scale": scale_with(-1)}, "values that are negative or not finite"),
    "a matrix in both forms": ({DOWN: STEPS.astype(np.float16)}, f"'{DOWN}' is there as it is and as '{DOWN}.delta'"),
    "a matrix of another shape": (
        {f"{DOWN}.delta": STEPS[:31].copy(), f"{DOWN}.delta_scale": SCALES[:31].copy()},
        f"'{DOWN}' has the shape (31, 64), not (32, 64)",
    ),
    "rows of too few tokens": (
        {f"{ROWS}.delta": STEPS[:4, :32].copy(), f"{ROWS}.delta_scale": SCALES[:4, :1].copy()},
        f"'{ROWS}' has the shape (4, 32), not (5, 32)",
    ),
    "A as a difference": (
        {LORA_A: NOTHING, f"{LORA_A}.delta": STEPS[:2, :32].copy(), f"{LORA_A}.delta_scale": SCALES[:2, :1].copy()},
        "'model.layers.0.self_attn.q_proj' has lora_A as a difference, and the base has none",
    ),
    "a norm as a difference": (
        {NORM: NOTHING, f"{NORM}.delta": STEPS[:1, :32].copy(), f"{NORM}.delta_scale": SCALES[:1, :1].copy()},
        f"'{NORM}' has the shape (1, 32), not (32,)",
    ),
    "a tensor of nothing": ({"x.delta": STEPS, "x.delta_scale": SCALES}, "'x' does not start with base_model.model."),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_tensors_that_are_wrong_are_one_line(case: str, packed: Path, tiny_llama: Path, tmp_path: Path) -> None:
    tensors, finding = WRONG[case]
    adapter = shutil.copytree(packed, tmp_path / "adapter")
    rewrite(adapter / NAME, tensors)
    assert_refused(tiny_llama, adapter, tmp_path / "out", finding)


@pytest.mark.parametrize(
    ("metadata", "finding"),
    [
        ({"schema": "genrec-edge/deltas@2", "base_sha256": SHA256}, "has the format 'genrec-edge/deltas@2', and this"),
        ({"format": "pt"}, "has the format '', and this version of the program reads genrec-edge/deltas@1"),
        ({"schema": SCHEMA}, "its metadata is not schema and base_sha256, a sha256"),
        ({"schema": SCHEMA, "base_sha256": SHA256[1:]}, "its metadata is not schema and base_sha256, a sha256"),
        ({"schema": SCHEMA, "base_sha256": SHA256, "block": "16"}, "its metadata is not schema and base_sha256"),
        ({"schema": SCHEMA, "base_sha256": SHA256}, "holds differences to another base: the weights of"),
    ],
)
def test_metadata_that_is_wrong_is_one_line(
    metadata: dict[str, str], finding: str, packed: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    adapter = shutil.copytree(packed, tmp_path / "adapter")
    rewrite(adapter / NAME, {}, metadata)
    assert_refused(tiny_llama, adapter, tmp_path / "out", finding)


@pytest.mark.parametrize("left", [0, 7, 100, -1, -3000])
def test_a_file_that_is_cut_short_is_one_line(left: int, packed: Path, tiny_llama: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(packed, tmp_path / "adapter")
    content = (adapter / NAME).read_bytes()
    (adapter / NAME).write_bytes(content[:left])
    assert_refused(tiny_llama, adapter, tmp_path / "out", f"{NAME} is damaged: ")


def test_another_base_of_the_same_shape_is_one_line(packed: Path, tmp_path: Path) -> None:
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1)
    assert_refused(other, packed, tmp_path / "out", f"to another base: the weights of {other} have the sha256")


def test_a_packed_file_under_the_name_of_peft_is_no_adapter(packed: Path, tiny_llama: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(packed, tmp_path / "adapter")
    (adapter / NAME).rename(adapter / "adapter_model.safetensors")
    assert_refused(tiny_llama, adapter, tmp_path / "out", f"'{DOWN}.delta' is of type I8, not one of F32, F16")


def test_a_sound_file_is_converted(packed: Path, tiny_llama: Path, tmp_path: Path) -> None:
    """What the other tests change; also with tensors in another order, and the smallest and the largest step."""
    assert convert(tiny_llama, packed, tmp_path / "out")[0] == 0
    adapter = shutil.copytree(packed, tmp_path / "adapter")
    steps = load_file(adapter / NAME)[f"{DOWN}.delta"]
    steps[0, :2] = [-128, 127]
    rewrite(adapter / NAME, {f"{DOWN}.delta": steps})
    header = (adapter / NAME).read_bytes()
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]["schema"] == SCHEMA
    assert convert(tiny_llama, adapter, tmp_path / "again")[0] == 0
