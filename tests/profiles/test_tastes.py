"""Tastes: the line about a history, against a line by hand and against exact fractions."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.profiles import tastes as tastes_module
from genrec_edge.profiles.tastes import Tastes, profile_text
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ITEMS = [
    "genres:Drama decade:1980s director:Lee country:France language:French",
    "genres:Comedy genres:Drama decade:1990s cast:Tom country:France",
    "genres:Comedy decade:1990s cast:Tom cast:Amy country:USA",
    "genres:Thriller decade:1990s director:Lee country:USA",
]
HISTORY = [[Fact(*word.split(":")) for word in item.split()] for item in ITEMS]


def test_numbers_are_no_taste() -> None:
    stocked = [[*facts, Fact("stock", "0"), Fact("genres", "7")] for facts in HISTORY]
    assert profile_text(stocked, lambda _: 0.01) == profile_text(HISTORY, lambda _: 0.01) != ""


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        # Weights, the newest item 1: 1, 0.97, 0.9409, 0.9127, 3.8236 in all. Comedy 1.9109, Drama 1.8536, Thriller 1;
        # Lee 1.9127 and Tom 1.9109 of two items each, half of the weight; France 1.8536, 0.485 of it.
        ({}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; USA, France"),
        ({"USA": 0.4}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; France"),  # frequent in the catalog
        ({"USA": 0.27, "France": 0.25}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom"),  # not twice as often
        ({"France": 0.2, "USA": 0.25}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; France, USA"),
        ({"Tom": 0.3}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee; USA, France"),
    ],
)
def test_a_line_computed_by_hand(shares: dict[str, float], expected: str) -> None:
    assert profile_text(HISTORY, lambda fact: shares.get(fact.value, 0.1)) == expected


def test_without_facts_the_line_is_empty() -> None:
    assert profile_text([], lambda _: 0.5) == ""
    assert profile_text([[], []], lambda _: 0.5) == ""
    assert profile_text([[Fact("cast", "Tom")]], lambda _: 0.5) == ""  # one item is not enough


def by_fractions(history: Sequence[Sequence[Fact]], share: Callable[[Fact], float]) -> str:
    """Return the line as its definition has it, exactly."""
    weight = [Fraction(97, 100) ** (len(history) - 1 - i) for i in range(len(history))]
    facts = {fact for item in history for fact in item}
    none = Fraction()
    of = {fact: sum((w for w, item in zip(weight, history, strict=True) if fact in item), none) for fact in facts}
    often = {fact for fact in facts if sum(fact in item for item in history) >= 2}
    often = {fact for fact in often if of[fact] / sum(weight) > 2 * Fraction(share(fact))}
    places = {f for f in often if f.column in ("country", "language") and share(f) < 0.3}
    people = {f for f in often if f.column in ("director", "cast")}
    groups: list[tuple[set[Fact], int, Mapping[Fact, Fraction]]] = [
        ({f for f in facts if f.column == "genres"}, 3, of),
        ({f for f in facts if f.column == "decade"}, 2, of),
        (people, 3, of),
        (places, 2, {f: of[f] / Fraction(share(f)) for f in places}),
    ]
    kinds = []
    for group, most, by in groups:
        values = dict.fromkeys(f.value for f in sorted(group, key=lambda f: (-by[f], f.value)))
        kinds.append(", ".join(list(values)[:most]))
    return "; ".join(filter(None, kinds))


def random_history(rng: np.random.Generator, n: int) -> list[list[Fact]]:
    columns = [("genres", 6), ("decade", 5), ("director", 12), ("cast", 30), ("country", 4), ("language", 4)]
    return [
        [Fact(c, f"{c} {v}") for c, size in columns for v in set(rng.integers(0, size, rng.integers(0, 4)).tolist())]
        for _ in range(n)
    ]


@pytest.mark.slow
def test_lines_of_random_histories_are_those_of_exact_fractions() -> None:
    rng = np.random.default_rng(3)
    lines = set()
    for n in [*range(1, 30), 60, 100]:
        history = random_history(rng, n)
        shares: dict[Fact, float] = {}

        def share(fact: Fact, shares: dict[Fact, float] = shares) -> float:
            return shares.setdefault(fact, round(float(rng.uniform(0.01, 0.4)), 6))

        lines.add(profile_text(history, share))
        assert profile_text(history, share) == by_fractions(history, share)
    assert len(lines) == 31


def test_parts_of_a_history_make_the_tastes_of_the_whole() -> None:
    history = random_history(np.random.default_rng(4), 40)
    whole = Tastes()
    whole.add(history)
    grown, first, second = Tastes(), Tastes(), Tastes()
    for start in range(0, 40, 5):
        grown.add(history[start : start + 5])
    first.add(history[:13])
    second.add(history[13:])
    for other in (grown, first.followed_by(second), Tastes.from_document(whole.to_document())):
        assert other.counts == whole.counts
        assert other.weights == pytest.approx(whole.weights)
        assert other.n_items == 40
        assert other.total == pytest.approx(whole.total)
        assert other.text(lambda _: 0.05) == whole.text(lambda _: 0.05)


@pytest.mark.slow
def test_tastes_stay_small_and_keep_what_comes_again() -> None:
    tastes = Tastes()
    for i in range(2000):
        tastes.add([[Fact("cast", f"once {i} {j}") for j in range(10)] + [Fact("cast", f"often {i % 20}")]])
    assert len(tastes.weights) == len(tastes.counts) == tastes_module._MAX_FACTS
    assert sum(fact.value.startswith("often") for fact in tastes.weights) == 20
    assert len(json.dumps(tastes.to_document())) < 60_000
