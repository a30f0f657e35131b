"""A training sequence as pieces: titles, lines of words, yes-or-no answers, choices of one title out of two.

Knows neither token ids nor tensors. Three kinds of targets can be trained on: titles, under the score of the search;
words, token by token; and which of two answers is the right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrec_edge.decoding.prompts import Part, PromptLine, PromptTitle

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from genrec_edge.convert.training.data.windows import Window


@dataclass(frozen=True, slots=True, eq=False)
class TitlesPiece:
    """Titles, one per line.

    Attributes:
        items: data-set items.
        is_target: whether the model is trained to predict them.
        is_history: whether the user interacted with them, in this order; false for candidates and other titles that
            are only mentioned.
        matches: (n_items,) true for the items that match the words before; the soft target of the others is reduced.
            None if no words restrict the items.
    """

    items: tuple[int, ...]
    is_target: bool = True
    is_history: bool = True
    matches: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class WordsPiece:
    """A line of words. `target`: words to predict after an open line; the end of the line is predicted, too."""

    line: PromptLine
    target: str = ""


@dataclass(frozen=True, slots=True)
class VerdictPiece:
    """Yes or no after an open line: whether `item` is the user's next item or a sampled negative."""

    item: int
    is_positive: bool


@dataclass(frozen=True, slots=True)
class PickPiece:
    """The title of one of two items: `is_first` says whether the first one is the user's next item."""

    first: int
    second: int
    is_first: bool


Piece = TitlesPiece | WordsPiece | VerdictPiece | PickPiece


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence.

    Attributes:
        user: the user's number in the data set.
        before: the user's items before those in the sequence; the model does not see them, the prior counts them.
        pieces: the sequence after the heading.
        positive: the user's next item after the sequence; None if there is no verdict and no pick.
    """

    user: int
    before: tuple[int, ...]
    pieces: tuple[Piece, ...]
    positive: int | None = None

    @property
    def n_targets(self) -> int:
        """Number of titles to predict."""
        return sum(len(piece.items) for piece in self.pieces if isinstance(piece, TitlesPiece) and piece.is_target)

    @property
    def n_lines(self) -> int:
        """Number of lines, which says about how long the sequence is."""
        return sum(len(piece.items) if isinstance(piece, TitlesPiece) else 1 for piece in self.pieces)

    @property
    def n_given(self) -> int:
        """Number of history items before the first one to predict."""
        n = len(self.before)
        for piece in self.pieces:
            if isinstance(piece, TitlesPiece) and piece.is_history:
                if piece.is_target:
                    break
                n += len(piece.items)
        return n

    @property
    def history(self) -> tuple[int, ...]:
        """All items of the user, oldest first: those before the sequence and those in it."""
        in_sequence = (piece.items for piece in self.pieces if isinstance(piece, TitlesPiece) and piece.is_history)
        return (*self.before, *(item for items in in_sequence for item in items))


def context_pieces(parts: Iterable[Part[int]]) -> tuple[Piece, ...]:
    """Return parts of a prompt as pieces without targets."""
    return tuple(
        TitlesPiece((part.item,), is_target=False, is_history=False)
        if isinstance(part, PromptTitle)
        else WordsPiece(part)
        for part in parts
    )


def titles_example(window: Window) -> Example:
    """Return a window as a plain list of titles; those from `window.first_target` on are targets."""
    given, targets = window.items[: window.first_target], window.items[window.first_target :]
    pieces = [TitlesPiece(targets)]
    if given:
        pieces.insert(0, TitlesPiece(given, is_target=False))
    return Example(window.user, window.before, tuple(pieces))
