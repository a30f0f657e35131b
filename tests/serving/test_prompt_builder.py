"""Prompts: their texts line by line, what is left out of a long history, and what a longer one costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.coordinates import CatalogRows
from genrec_edge.decoding import prompts
from genrec_edge.decoding.prompts import INSTRUCTION
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import UsageError
from genrec_edge.records import Interaction, Item
from genrec_edge.serving.prompt_builder import PromptBuilder
from tests.support.recommenders import HISTORY, check_answer, row_of, scores, user_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture(scope="module")
def small(tiny_llama: Path, tricky_path: Path, own_cache: None) -> Iterator[Recommender]:
    """A recommender with the smallest context: 128 tokens of prompt, and every letter is nearly a token."""
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, n_ctx=256, prior_kind="none") as opened:
        yield opened


def test_a_long_history_drops_its_oldest_titles_and_says_so(
    small: Recommender, recommender: Recommender, tiny_llama: Path, items_by_id: Mapping[str, Item]
) -> None:
    history = ["Vertigo", "Casablanca", "Chinatown", "Rear Window", "Some Like It Hot", "Groundhog Day"]
    history += ["Trainspotting", "The Princess Bride", "Blade Runner", "Spirited Away", "Toy Story", "Psycho"]
    model = Model(tiny_llama, vocab_only=True)
    room = 128 - len(model.tokenize(INSTRUCTION))
    kept: list[str] = []
    for title in reversed(history):
        room -= len(model.tokenize(title)) + 1
        if room < 0:
            break
        kept.insert(0, title)
    model.close()
    assert 0 < len(kept) < len(history)
    result = small.recommend(history, k=5)
    check_answer(result, 5, items_by_id)
    assert result.dropped == len(history) - len(kept)
    assert result.timings.prompt_tokens <= 128
    assert {r.item.title for r in result.items}.isdisjoint(history)  # dropped from the prompt, seen all the same
    assert scores(result) == [r.score for r in recommender.recommend(kept, k=5, exclude=history).items]


@pytest.mark.slow
def test_a_history_that_grows_past_the_window_seldom_moves_it(
    recommender: Recommender, items_by_id: Mapping[str, Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown 32 titles at most: what comes between two blocks costs its own tokens."""
    monkeypatch.setattr(recommender.session.prompts, "_max_titles", 32)
    history = list(items_by_id)[:50]
    dropped = []
    for n in range(1, len(history) + 1):
        result = recommender.recommend([Interaction(id=item_id) for item_id in history[:n]], k=1)
        dropped.append(result.dropped)
        new = result.timings.prompt_tokens - result.timings.reused_tokens
        newest = len(recommender.session.title_tokens(items_by_id[history[n - 1]].row)) + 1
        if n > 1 and dropped[-1] == dropped[-2]:
            assert new <= newest + 1  # the token before it may be read again for its logits
    assert dropped == [0] * 32 + [8] * 8 + [16] * 8 + [24] * 2


def test_a_context_too_small_for_one_title_says_so(small: Recommender) -> None:
    with pytest.raises(UsageError, match="too few for one title") as error:
        small.recommend([Interaction(id="021")], k=1)
    assert "n_ctx" in error.value.hint
    assert len(small.recommend(["Jaws"], k=1).items) == 1


def test_a_prompt_is_its_texts_line_by_line(twelve_films: Recommender) -> None:
    """Each line tokenised on its own: what the user says, the history, and the question about one item."""
    rows = CatalogRows(np.array([row_of(twelve_films, title) for title in HISTORY], np.int64))
    question = prompts.pointwise(row_of(twelve_films, "Ran"))
    after = [*prompts.after_history("Drama", {"when": "now"}), *question]
    prompt, n_dropped = twelve_films.session.prompts.build(rows, prompts.before_history("loud ones"), after)
    expected = user_prompt(twelve_films, preference="loud ones", context={"when": "now"}, wanted="Drama")
    model = twelve_films.session.engine.model
    for line in ("## Next:", "Ran"):
        expected += [*model.tokenize(line), model.newline_id]
    assert prompt == [*expected, *model.tokenize("## Enjoyed:")]
    assert n_dropped == 0


def test_a_layout_of_histories_alone_takes_no_words(recommender: Recommender) -> None:
    session = recommender.session
    builder = PromptBuilder(session.engine, "genrec-1", 100, session.title_tokens)
    prompt, _ = builder.build(CatalogRows(np.array([1], np.int64)))
    model = session.engine.model
    head = "Below is a task and what it is about. Write the answer.\n\n### Task:\n"
    assert prompt[: len(model.tokenize_start(head))] == model.tokenize_start(head)
    tail = model.tokenize("\n### Answer:\n")
    assert prompt[-len(tail) :] == tail
    with pytest.raises(UsageError, match="prompts of the layout 'genrec-1'"):
        builder.encode(prompts.before_history("loud ones"))
    assert builder.encode(()) == []
