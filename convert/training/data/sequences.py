"""One training sequence as what it is made of: titles, lines of words, verdicts. Knows neither tokens nor tensors.

What is learned of it: titles, under the score of the search; words, token by token; and which of two answers comes.
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
    """Titles, one a line.

    Attributes:
        items: item indexes of the data set.
        is_learned: whether they are targets.
        is_history: whether the user met them, in this order; candidates and what is only talked about are none.
        fits: (n_items,) the items that the words before ask for; the teacher knows no others. None asks for nothing.
    """

    items: tuple[int, ...]
    is_learned: bool = True
    is_history: bool = True
    fits: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class WordsPiece:
    """A line of words. An open line is followed by the words that are learned, with the end of their line."""

    line: PromptLine
    learned: str = ""


@dataclass(frozen=True, slots=True)
class VerdictPiece:
    """Yes or no, on the open line before: whether `item` is what the user meets next."""

    item: int
    is_met: bool


@dataclass(frozen=True, slots=True)
class PickPiece:
    """The title of one of two items, the first or the second: which of them the user meets next."""

    first: int
    second: int
    is_first: bool


Piece = TitlesPiece | WordsPiece | VerdictPiece | PickPiece


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence.

    Attributes:
        user: whose.
        before: what the user had met before; no title of the sequence, but a teacher knows it.
        pieces: what the sequence is made of, after the heading.
        met: what the user meets after the titles, None where nothing is judged.
    """

    user: int
    before: tuple[int, ...]
    pieces: tuple[Piece, ...]
    met: int | None = None

    @property
    def n_targets(self) -> int:
        """How many titles are learned."""
        return sum(len(piece.items) for piece in self.pieces if isinstance(piece, TitlesPiece) and piece.is_learned)

    @property
    def n_given(self) -> int:
        """How many items of the history come before the first that is learned."""
        n = len(self.before)
        for piece in self.pieces:
            if isinstance(piece, TitlesPiece) and piece.is_history:
                if piece.is_learned:
                    break
                n += len(piece.items)
        return n

    @property
    def history(self) -> tuple[int, ...]:
        """All that the user met, as far as it is told or known."""
        named = (piece.items for piece in self.pieces if isinstance(piece, TitlesPiece) and piece.is_history)
        return (*self.before, *(item for items in named for item in items))


def as_pieces(parts: Iterable[Part[int]]) -> tuple[Piece, ...]:
    """Return parts of a prompt as pieces that nothing is learned of."""
    return tuple(
        TitlesPiece((part.item,), is_learned=False, is_history=False)
        if isinstance(part, PromptTitle)
        else WordsPiece(part)
        for part in parts
    )


def as_titles(window: Window) -> Example:
    """Return a window as a plain list of titles."""
    given, target = window.items[: window.first_target], window.items[window.first_target :]
    pieces = (*((TitlesPiece(given, is_learned=False),) if given else ()), TitlesPiece(target))
    return Example(window.user, window.before, pieces)
