"""What steps draw from: prompts as they are served, and catalogs with and without extra titles."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.gguf_writer import write_gguf
from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.checkpoint.types import Tensor
from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
from genrec_edge.convert.training.data.bundle import _filter_and_split, prepare_training_data, write_vocabulary
from genrec_edge.convert.training.data.sequences import titles_example
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.coordinates import CatalogRows, TriePosition
from genrec_edge.datasets.folder import load
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.gguf.header import read_header
from genrec_edge.recommender import Recommender
from tests.support.event_tables import dataset_of

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


# The data set has Alien, Heat and Up, all of 1980.
OTHERS = "title,year\nAlien,1979\nALIEN!,1981\nAlien,1982\nAlien,\nHeat,1995\nZulu,1964\nZulu,2013\n"


def catalog_of(path: Path, text: str) -> Path:
    path.with_suffix(".csv").write_text(text, encoding="utf-8")
    build(path.with_suffix(".csv"), path)
    return path


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    return catalog_of(tmp_path / "others.db", OTHERS)


def test_training_prompts_are_those_that_are_served(
    llama_vocabs: Path, tiny_llama: Path, cycle_data: Path, tmp_path: Path
) -> None:
    """SentencePiece: a token before everything, a space before every text, and a line break out of bytes."""
    tokenizer = read_gguf_tokenizer(read_header(llama_vocabs / "ggml-vocab-llama-spm.gguf"))
    small, rng = read_gguf(tiny_llama), np.random.default_rng(0)
    table = rng.normal(0, 0.5, (len(tokenizer.tokens), small.config.hidden_size)).astype(np.float32)
    name = "model.embed_tokens.weight"
    tensors = {**small.tensors, name: Tensor(name, table.shape, "F32", lambda rows: table[rows])}
    config = replace(small.config, vocab_size=len(tokenizer.tokens))
    base = replace(small, config=config, tokenizer=tokenizer, tensors=tensors)
    for prompt, targets in (("titles-1", "all"), ("forms-1", "all"), ("genrec-1", "last")):
        path = tmp_path / f"{prompt}.gguf"
        with path.open("wb") as file:
            write_gguf(base, file, {"genrec_edge.prompt_version": prompt})
        recipe = recipe_of({"prompt": prompt, "data": {"window": 20, "targets": targets}}, "test")
        write_vocabulary(base, tmp_path / "vocabulary.gguf")
        with closing(Model(tmp_path / "vocabulary.gguf", vocab_only=True)) as vocabulary:
            dataset = load(cycle_data)
            data = prepare_training_data(dataset, recipe, vocabulary)
        windows = data.windows.sample(0, 4)
        with Recommender.open(path, cycle_data / "catalog.db", n_threads=1) as recommender:
            index = recommender.session.trie
            for window in windows:
                window_of_titles = Window(window.user, window.before, window.items, len(window.items) - 1)
                ids = data.collator(0).collate([titles_example(window_of_titles)]).input_ids[0].tolist()
                rows = dataset.rows[list(window.items)]
                served, _ = recommender.session.prompts.build(CatalogRows(rows[:-1]))
                (position,) = np.flatnonzero(index.rows == rows[-1]).tolist()
                assert ids == [
                    *served,
                    *index.path(TriePosition(position)),
                    recommender.session.engine.model.newline_id,
                ]
                assert ids[0] == vocabulary.bos_id == 1
    assert set(prompts.LAYOUTS) == {"titles-1", "forms-1", "genrec-1"}
    with Catalog.open(cycle_data / "catalog.db") as catalog:
        assert len(list(catalog.titles())) == index.n_items


def test_steps_use_the_titles_of_the_data_set_with_and_without_extra_titles(
    catalog_path: Path, cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    dataset = load(cycle_data)
    write_vocabulary(read_folder(tiny_base), tmp_path / "vocabulary.gguf")
    with closing(Model(tmp_path / "vocabulary.gguf", vocab_only=True)) as vocabulary:
        recipe = recipe_of({"objective": {"others": str(catalog_path)}}, "test")
        data = prepare_training_data(
            dataset, recipe, vocabulary, lambda d, _: lambda _user, h, s: np.zeros((len(h) - s, d.n_items), np.float32)
        )

        def spelled(which: int) -> str:
            window_of_titles = Window(
                0, (), tuple(dataset.titles.index((title, 1980)) for title in ("Heat", "Up", "Alien"))
            )
            batch = data.collators[which].collate([titles_example(window_of_titles)])
            assert batch.prior is not None
            np.testing.assert_allclose(batch.prior.exp().sum(1), 1, 1e-5)
            assert set(batch.input_ids[0].tolist()) <= set(data.token_ids)
            return vocabulary.detokenize(batch.input_ids[0].tolist())

        assert [collator.n_titles for collator in data.collators] == [20, 20, 21, 24]
        assert spelled(0).endswith("\nHeat\nUp\nAlien\n")
        assert spelled(3).endswith("\nHeat (1980)\nUp\nAlien (1980)\n")
        # Extra titles are never in a sequence, so their tokens are not trained.
        assert not {vocabulary.tokenize("Zulu (1964)")[0]} & set(data.token_ids)
    drawn_for = [data.collators.index(data.collator(step)) for step in range(400)]
    assert np.bincount(drawn_for).min() > 60
    assert drawn_for == [data.collators.index(data.collator(step)) for step in range(400)]


def test_training_sees_likes_alone() -> None:
    dataset = dataset_of([(0, item, item) for item in range(5)], ratings=[8, 3, 7, 9, 7])
    recipe = recipe_of({"data": {"min_rating": 7}}, "made")
    rated, split = _filter_and_split(dataset, recipe)
    assert split is not None
    assert (split.train[0].tolist(), split.validation[0], split.test[0]) == ([0, 2], 3, 4)
    assert rated.filters == ("rated 7 or higher",)
    assert recipe.document()["data"]["min_rating"] == 7
    assert "min_rating" not in recipe_of({}, "made").document()["data"]
