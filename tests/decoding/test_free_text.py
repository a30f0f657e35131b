"""Free generation under a language model that is a plain function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from genrec_edge.coordinates import TokenId
from genrec_edge.decoding import free_text
from genrec_edge.decoding.free_text import generate_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from genrec_edge.engine.llama_engine import LlamaEngine, TokenRun

TEXT = "abcdef\n$"
NEWLINE, END = TokenId(TEXT.index("\n")), TokenId(TEXT.index("$"))


class FakeModel:
    """Letters are tokens; "$" ends the text."""

    newline_id = NEWLINE

    def is_end_of_generation(self, token_id: int) -> bool:
        return token_id == END

    def detokenize(self, token_ids: Sequence[int]) -> str:
        return "".join(TEXT[i] for i in token_ids)


class FakeEngine:
    """Its logits after a text are a function of the text."""

    def __init__(self, logits_after: Callable[[str], NDArray[np.float32]]) -> None:
        self.model = FakeModel()
        self.written = ""
        self._logits_after = logits_after

    def evaluate(self, runs: Sequence[TokenRun]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        (run,) = runs
        assert run.parent == len(self.written)
        self.written += self.model.detokenize(run.token_ids)
        yield len(self.written), self._logits_after(self.written)


def one_of(likeliest: str) -> NDArray[np.float32]:
    """Return logits that have half of the probability on one letter."""
    row = np.zeros(len(TEXT), np.float32)
    row[TEXT.index(likeliest)] = np.log(len(TEXT) - 1)
    return row


def lines(
    logits_after: Callable[[str], NDArray[np.float32]], *, temperature: float = 0, seed: int = 0, max_tokens: int = 100
) -> list[tuple[str, float]]:
    engine: Any = FakeEngine(logits_after)
    found = generate_lines(
        cast("LlamaEngine", engine), logits_after(""), temperature=temperature, seed=seed, max_tokens=max_tokens
    )
    return [(line.text, line.logprob) for line in found]


def after(text: str) -> Callable[[str], NDArray[np.float32]]:
    return lambda written: one_of(text[len(written)])


def test_lines_end_at_line_breaks_and_have_the_probability_of_their_tokens() -> None:
    found = lines(after("ab\ncde\nf$"))
    assert [text for text, _ in found] == ["ab", "cde"]  # the last one was not finished
    assert [logprob for _, logprob in found] == pytest.approx([3 * np.log(0.5), 4 * np.log(0.5)])


def test_the_tokens_are_limited() -> None:
    assert [text for text, _ in lines(after("ab\ncd\nef\n$"), max_tokens=6)] == ["ab", "cd"]


def test_a_line_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_text, "MAX_LINE_TOKENS", 4)
    found = lines(lambda written: one_of("a"), max_tokens=10)
    assert [text for text, _ in found] == ["aaaa", "aaaa"]
    assert found[0][1] == pytest.approx(4 * np.log(0.5) + np.log(0.5 / (len(TEXT) - 1)))


def test_a_temperature_draws_by_the_seed_and_the_probability_stays_that_of_the_model() -> None:
    def logits(written: str) -> NDArray[np.float32]:
        row = np.random.default_rng(len(written)).normal(0, 1, len(TEXT)).astype(np.float32)
        row[END] = -1e9
        return row

    one, same, other = (lines(logits, temperature=1.5, seed=seed, max_tokens=300) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one
    assert all(logprob < 0 for _, logprob in one)
