"""Items with facts, users who choose among them, and what an example made of them says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.convert.training.data.instructions import FORMS
from genrec_edge.convert.training.data.sequences import TitlesPiece, WordsPiece
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.datasets.item_facts import ItemFacts
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from genrec_edge.convert.training.data.sequences import Example

N_ITEMS = 30


GENRES = ("Comedy", "Drama", "Horror")


def facts_of(item: int) -> tuple[Fact, ...]:
    genre, director = GENRES[item % 3], f"Director {'ABCDE'[item % 5]}"
    decade = ("1980s", "1990s")[item % 2]
    return (Fact("genres", genre), Fact("director", director), Fact("decade", decade))


HISTORIES = [np.arange(start, start + 18) % N_ITEMS for start in range(12)]


ITEM_FACTS = ItemFacts([facts_of(item) for item in range(N_ITEMS)], HISTORIES)


WINDOW = Window(3, (3, 4, 5, 6, 7, 8), tuple(range(9, 21)))


def drawn(form: str, n: int = 200) -> list[Example]:
    found = [FORMS[form](WINDOW, ITEM_FACTS, np.random.default_rng(i)) for i in range(n)]
    return [example for example in found if example is not None]


def words_by_mark(example: Example) -> dict[str, str]:
    lines = [piece.line for piece in example.pieces if isinstance(piece, WordsPiece)]
    return {line.mark: line.text for line in lines}


def target_titles(example: Example) -> list[TitlesPiece]:
    return [piece for piece in example.pieces if isinstance(piece, TitlesPiece) and piece.is_target]


def items_matching(words: str) -> set[int]:
    """Return the items that have all facts of a specific intention, found in the words alone."""
    wanted = words.split(", ")
    return {i for i in range(N_ITEMS) if all(any(f.value == w for f in facts_of(i)) for w in wanted)}
