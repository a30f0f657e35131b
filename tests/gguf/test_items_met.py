"""Which items a model met, as a text."""

from __future__ import annotations

import base64
import random

import pytest

from genrec_edge.gguf.items_met import from_text, hash_of, to_text


def test_what_is_written_is_read() -> None:
    rng = random.Random(1)
    hashes = {rng.randrange(1 << 32) for _ in range(3_000)}
    assert from_text(to_text(hashes)) == frozenset(hashes)
    assert from_text(to_text([5, 5, 1])) == frozenset({1, 5})
    assert len(to_text(hashes)) == 16_000


def test_title_and_year_count() -> None:
    different = {hash_of("heat", 1995), hash_of("heat", 1986), hash_of("heat", None), hash_of("heat wave", 1995)}
    assert len(different) == 4
    assert hash_of("\ud800", None) >= 0


@pytest.mark.parametrize("text", [None, 7, "", "###", base64.b64encode(b"12345").decode(), "ä"])
def test_other_texts_say_nothing(text: object) -> None:
    assert from_text(text) is None
