"""What a recipe's objective makes of a data set: shares of the week, the tokens that are trained, the teacher."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.convert.checkpoint.hf_reader import read_folder
from genrec_edge.convert.training.data.bundle import prepare_training_data, write_vocabulary
from genrec_edge.convert.training.data.sequences import titles_example
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.convert.training.loop import _count_prior
from genrec_edge.convert.training.recipe_reader import recipe_of
from genrec_edge.datasets.folder import load
from genrec_edge.engine.bindings import Model
from genrec_edge.prior.cross_fitting import cross_fitted
from genrec_edge.prior.dataset_mixture import mixture_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from genrec_edge.convert.training.data.bundle import TrainingData

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def data_of(folder: Path, base: Path, tmp_path: Path, document: Mapping[str, Any]) -> TrainingData:
    recipe = recipe_of({"data": {"window": 8}, **document}, "test")
    write_vocabulary(read_folder(base), tmp_path / "vocabulary.gguf")
    with closing(Model(tmp_path / "vocabulary.gguf", vocab_only=True)) as vocabulary:
        return prepare_training_data(load(folder), recipe, vocabulary, _count_prior(recipe))


def test_targets_have_the_shares_of_their_week(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    """All events of the data set are of one week."""
    data = data_of(cycle_data, tiny_base, tmp_path, {"objective": {"offset": "week"}})
    assert data.split is not None
    items = tuple(data.split.train[3].tolist())
    batch = data.collator(0).collate([titles_example(Window(3, (), items, first_target=1))])
    counts = np.bincount(np.concatenate(data.split.train), minlength=20)
    expected = np.sort(np.log(0.99 * counts / counts.sum() + 0.01 / 20))
    assert batch.offset is not None
    assert batch.offset.shape == (len(items) - 1, 20)
    for row in batch.offset:
        assert np.sort(row.numpy()).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    plain = data_of(cycle_data, tiny_base, tmp_path, {})
    assert plain.collator(0).collate([titles_example(Window(3, (), items, first_target=1))]).offset is None


def test_tokens_of_few_titles_are_not_trained(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    found = [
        data_of(cycle_data, tiny_base, tmp_path, {"lora": {"tokens": True, "token_titles": n}}).collator(0).token_ids
        for n in (1, 2, 1000)
    ]
    assert found[2] < found[1] < found[0]


def test_the_teacher_is_the_one_of_the_recipe(facts_data: Path) -> None:
    dataset = load(facts_data)
    histories = [dataset.items[dataset.users == user] for user in range(dataset.n_users)]
    asked = (3, histories[3], 1)
    truth = {
        "mixture": mixture_of(dataset, histories).cross_fitted(histories)(*asked),
        "sequence": cross_fitted(histories, dataset.n_items)(*asked),
    }
    assert truth["mixture"].tolist() != truth["sequence"].tolist()
    for teacher, expected in truth.items():
        count = _count_prior(recipe_of({"objective": {"distill": 0.5, "teacher": teacher}}, "test"))
        assert count is not None
        assert count(dataset, histories)(*asked).tolist() == expected.tolist()
    assert _count_prior(recipe_of({"objective": {"teacher": "mixture"}}, "test")) is None  # nothing is taught
