"""Which items a model met, as a text, there and back."""

from __future__ import annotations

import base64
import random
import zlib

import pytest

from genrec_edge.gguf.items_met import MOST_ITEMS, from_text, hash_of, to_text


@pytest.mark.parametrize("n", [1, 2, 500])
def test_hashes_come_back(n: int) -> None:
    rng = random.Random(n)
    hashes = [rng.getrandbits(32) for _ in range(n)] + [0, 2**32 - 1]
    text = to_text(hashes + hashes[:1])
    assert from_text(text) == frozenset(hashes)
    assert text == to_text(reversed(hashes))  # one set is one text
    assert text.isascii()


def test_a_text_has_four_bytes_for_each_item_the_lowest_first() -> None:
    assert base64.b64decode(to_text([258, 1])) == bytes([1, 0, 0, 0, 2, 1, 0, 0])
    assert len(to_text(range(MOST_ITEMS))) < 1 << 20  # a record may have as long a text


def test_an_item_is_its_title_and_year() -> None:
    assert hash_of("alien", 1979) == zlib.crc32(b"alien 1979")
    assert hash_of("alien", None) == zlib.crc32(b"alien ")
    assert len({hash_of("alien", year) for year in (None, 1979, 1980)} | {hash_of("aliens", 1979)}) == 4
    assert 0 <= hash_of("\ud800", 1) < 2**32  # a title of a broken file


def test_few_are_taken_for_another() -> None:
    """Of a million titles that were never met, two or three: among 100,000 hardly any."""
    met = {hash_of(f"film {i}", 1900 + i % 120) for i in range(10_000)}
    assert sum(hash_of(f"book {i}", 1900 + i % 120) in met for i in range(100_000)) < 5


@pytest.mark.parametrize(
    "text", ["", "A", "AAAA", "AAAAAA=", "AAAAA A=", "é" * 8, "AAAAAA==\n", None, 7, b"AAAAAA==", []]
)
def test_other_texts_say_nothing(text: object) -> None:
    assert from_text(text) is None


def test_the_least_of_texts() -> None:
    assert from_text("AAAAAA==") == frozenset({0})
