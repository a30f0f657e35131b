"""A vocabulary, a trie and a model for losses, and one training run that several tests look at."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import torch

from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.training.data.bundle import write_vocabulary
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.model import load_trainable
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.coordinates import CatalogRow
from genrec_edge.decoding.trie import TitleTrie, TrieKey
from genrec_edge.decoding.trie_build import build
from genrec_edge.engine.bindings import Model
from tests.support.title_losses import TITLES
from tests.support.training_runs import job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from genrec_edge.convert.training.trainer import TrainingResult


@pytest.fixture(scope="module")
def vocabulary(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.gguf"
    write_vocabulary(read_folder(tiny_base), path)
    with closing(Model(path, vocab_only=True)) as model:
        yield model


@pytest.fixture(scope="module")
def trie(vocabulary: Model) -> TitleTrie:
    listed = [(CatalogRow(row), title, year) for row, (title, year) in enumerate(TITLES)]
    return build(listed, vocabulary.tokenize, TrieKey("r", "t"))


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> Any:
    """A model with an adapter that changes it, in eval mode; tests that move its weights put them back."""
    torch.manual_seed(1)
    adapted = load_trainable(tiny_base, recipe_of({"lora": {"r": 4}}, "test"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    adapted.eval()
    return adapted


@pytest.fixture(scope="session")
def plain(cycle_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """One epoch as `SMALL` has it."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(folder / "home"))
        return train(job(cycle_data, tiny_base, folder / "out"))
