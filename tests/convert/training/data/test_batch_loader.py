"""The batches of training steps: which examples they have, and that those of the next step are made ahead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from genrec_edge.convert.training.data.batch_loader import BatchLoader
from genrec_edge.convert.training.data.sequences import Example, TitlesPiece, WordsPiece
from genrec_edge.decoding.prompts import PromptLine


def example(n: int) -> Example:
    """Return an example of n titles and a line of words."""
    return Example(0, (), (TitlesPiece(tuple(range(n))), WordsPiece(PromptLine("words"))))


LENGTHS = (5, 1, 30, 2, 7, 3)


@dataclass
class Drawn:
    """Stands for the training data: each step has examples of the same lengths, the collator returns examples."""

    made: list[int] = field(default_factory=list)

    def examples(self, step: int, n: int) -> list[Example]:
        self.made.append(step)
        return [example(length + step) for length in LENGTHS[:n]]

    def collator(self, _step: int) -> Drawn:
        return self

    def collate(self, examples: list[Example]) -> list[int]:
        return [example.n_targets for example in examples]


def loader(data: Drawn, micro_batch: int, process: int = 0, n_processes: int = 1) -> BatchLoader:
    return BatchLoader(cast("Any", data), len(LENGTHS), micro_batch, process, n_processes)


def test_examples_of_similar_length_are_together() -> None:
    loaded = loader(Drawn(), 2).load(0)
    assert cast("Any", loaded.batches) == [[1, 2], [3, 5], [7, 30]]
    assert (loaded.n_targets, loaded.divisor) == (sum(LENGTHS), sum(LENGTHS))


def test_few_titles_count_as_eight_an_example() -> None:
    data = Drawn()
    few = BatchLoader(cast("Any", data), 2, 1, 0, 1).load(0)
    assert (few.n_targets, few.divisor) == (6, 16)


def test_processes_share_the_examples_of_a_step() -> None:
    batches = [loader(Drawn(), 3, process, 2).load(4) for process in (0, 1)]
    found = sorted(n for loaded in batches for batch in cast("Any", loaded.batches) for n in batch)
    assert found == sorted(length + 4 for length in LENGTHS)
    assert {loaded.n_targets for loaded in batches} == {sum(LENGTHS) + 4 * len(LENGTHS)}


@pytest.mark.parametrize("start", [0, 9])
def test_the_next_step_is_made_ahead_and_each_once(start: int) -> None:
    """Also where a run is resumed, or asks for another step than the next one."""
    data = Drawn()
    batches = loader(data, 2)
    found = [batches.load(step).n_targets for step in (start, start + 1, start + 5, start + 6)]
    assert found == [sum(LENGTHS) + step * len(LENGTHS) for step in (start, start + 1, start + 5, start + 6)]
    batches.load(start + 7)
    expected = [start, start + 1, start + 2, start + 5, start + 6, start + 7]
    assert sorted(data.made)[: len(expected)] == expected
