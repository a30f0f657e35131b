"""What an example says of its history and its targets."""

from __future__ import annotations

from genrec_edge.convert.training.data.sequences import (
    Example,
    TitlesPiece,
    WordsPiece,
    context_pieces,
    titles_example,
)
from genrec_edge.convert.training.data.windows import Window
from genrec_edge.decoding import prompts


def test_a_window_is_a_list_of_titles_with_targets_from_one_on() -> None:
    example = titles_example(Window(3, (7, 8), (1, 2, 4), first_target=2))
    assert (example.user, example.history, example.n_given, example.n_targets) == (3, (7, 8, 1, 2, 4), 4, 1)
    whole = titles_example(Window(3, (7, 8), (1, 2, 4)))
    assert (whole.history, whole.n_given, whole.n_targets) == (example.history, 2, 3)


def test_titles_that_are_only_mentioned_are_not_history() -> None:
    mentioned = context_pieces(prompts.pairwise(5, 6))
    assert [type(piece) for piece in mentioned] == [WordsPiece, TitlesPiece, TitlesPiece, WordsPiece]
    example = Example(0, (9,), (TitlesPiece((1, 2), is_target=False), *mentioned, TitlesPiece((3,))))
    assert (example.history, example.n_given, example.n_targets) == ((9, 1, 2, 3), 3, 1)
