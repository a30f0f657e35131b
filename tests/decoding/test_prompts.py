"""How a prompt is put together: what is kept, what is dropped, and that a longer history only appends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.coordinates import TokenId
from genrec_edge.decoding import prompts
from genrec_edge.errors import UsageError
from genrec_edge.gguf.training_keys import DEFAULT_PROMPT
from tests.support.coordinates import tokens

INSTRUCTION = list(tokens(100, 101, 102))
END = TokenId(9)
titles_st = st.lists(st.integers(0, 8).map(TokenId), min_size=1, max_size=6)
histories = st.lists(titles_st, max_size=12)


def assemble(titles: list[list[TokenId]], max_tokens: int) -> tuple[list[TokenId], int]:
    return prompts.build_prompt(INSTRUCTION, titles, end_id=END, max_tokens=max_tokens)


def test_the_words_of_this_version() -> None:
    # Models are tuned to these words: changing them without a new version breaks every tuned model.
    assert DEFAULT_PROMPT == "titles-1"
    assert prompts.INSTRUCTION == "# The most famous films ever made\n\n"


def test_a_prompt_is_the_instruction_and_each_title_with_its_end() -> None:
    assert assemble([[*tokens(1, 2)], [*tokens(3)]], 50) == ([100, 101, 102, 1, 2, END, 3, END], 0)
    assert assemble([], 3) == (INSTRUCTION, 0)


@pytest.mark.slow
@given(histories, st.integers(3, 60))
def test_the_newest_titles_that_fit_are_kept_whole(titles: list[list[TokenId]], max_tokens: int) -> None:
    if titles and len(titles[-1]) + 1 > max_tokens - len(INSTRUCTION):
        with pytest.raises(UsageError, match="too few for one title"):
            assemble(titles, max_tokens)
        return
    prompt, dropped = assemble(titles, max_tokens)
    assert len(prompt) <= max_tokens
    assert prompt == INSTRUCTION + [token for title in titles[dropped:] for token in (*title, END)]
    if dropped:
        assert len(prompt) + len(titles[dropped - 1]) + 1 > max_tokens  # one more would not have fitted


@pytest.mark.slow
@given(histories, titles_st)
def test_a_longer_history_only_appends(titles: list[list[TokenId]], newest: list[TokenId]) -> None:
    before, _ = assemble(titles, 10**6)
    after, _ = assemble([*titles, newest], 10**6)
    assert after[: len(before)] == before


def test_titles_leave_a_long_prompt_eight_at_a_time() -> None:
    titles = [[TokenId(n % 9)] * (1 + n * 7 % 4) for n in range(150)]
    dropped, prompt = 0, list(INSTRUCTION)
    for n in range(1, len(titles) + 1):
        before = dropped, prompt
        prompt, dropped = assemble(titles[:n], 200)
        assert prompt == INSTRUCTION + [token for title in titles[dropped:n] for token in (*title, END)]
        if dropped == before[0]:
            assert prompt[: len(before[1])] == before[1]
        else:
            assert dropped % prompts.BLOCK == 0
            assert len(before[1]) + len(titles[n - 1]) + 1 > 200  # it was full
    assert dropped == 96
    assert [prompts.n_titles_to_drop(n, 35) for n in (35, 36, 43, 44, 200)] == [0, 8, 8, 16, 168]
    assert [prompts.n_titles_to_drop(n, 31) for n in (31, 32, 200)] == [0, 1, 169]  # a short one loses what it must


def test_a_context_too_small_for_the_instruction_is_refused() -> None:
    with pytest.raises(UsageError):
        assemble([], 2)
