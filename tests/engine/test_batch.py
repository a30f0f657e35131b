"""What llama.cpp would read out of a batch."""

from __future__ import annotations

import pytest

from genrec_edge.engine.batch import TokenBatch
from genrec_edge.engine.bindings import library
from genrec_edge.errors import EngineError
from tests.support.coordinates import tokens


def rows_of(batch: TokenBatch) -> list[tuple[int, int, int, bool]]:
    """Return token, position, sequence and whether it gives logits, of each token of the C struct."""
    c = batch.struct
    assert all(c.n_seq_id[i] == 1 for i in range(batch.n))
    return [(c.token[i], c.pos[i], c.seq_id[i][0], bool(c.logits[i])) for i in range(batch.n)]


def test_tokens_have_positions_and_their_sequence_and_the_last_gives_logits() -> None:
    batch = TokenBatch(library(), 8)
    batch.add(tokens(5, 6, 7), 10, 0, with_logits=True)
    batch.add(tokens(8, 9), 3, 4, with_logits=False)
    assert batch.n == 5
    assert rows_of(batch) == [
        (5, 10, 0, False),
        (6, 11, 0, False),
        (7, 12, 0, True),
        (8, 3, 4, False),
        (9, 4, 4, False),
    ]


def test_a_cleared_batch_keeps_nothing_of_the_last_call() -> None:
    batch = TokenBatch(library(), 8)
    batch.add(tokens(1, 2, 3), 0, 5, with_logits=True)
    batch.clear()
    assert batch.n == 0
    batch.add(tokens(4, 4, 4), 7, 1, with_logits=False)
    assert rows_of(batch) == [(4, 7, 1, False), (4, 8, 1, False), (4, 9, 1, False)]


@pytest.mark.parametrize("n_tokens", [0, 6, 100])
def test_what_does_not_fit_is_refused_and_the_rest_stays(n_tokens: int) -> None:
    """llama.cpp would read behind the arrays, or end the process."""
    batch = TokenBatch(library(), 8)
    batch.add(tokens(1, 2, 3), 0, 0, with_logits=True)
    with pytest.raises(EngineError, match=f"{n_tokens} tokens do not fit into a batch with 3 of 8"):
        batch.add(tokens(*range(n_tokens)), 0, 1, with_logits=True)
    assert rows_of(batch) == [(1, 0, 0, False), (2, 1, 0, False), (3, 2, 0, True)]
