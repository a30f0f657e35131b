"""What items have in common, against numbers worked out by hand and loops over the definition."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from genrec_edge.prior.fact_build import ValuePairs, build
from genrec_edge.prior.facts import LATEST, column_weight
from tests.support.facts import Film, facts_by_column, facts_in_common, random_films

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.prior.facts import FactIndex


def index_of(films: Sequence[Film]) -> FactIndex:
    """Build the index of films without a catalog in between."""
    columns = []
    for name in sorted({name for film in films for name in facts_by_column(film)}):
        pairs = [(value, i) for i, film in enumerate(films) for value in facts_by_column(film).get(name, ())]
        numbers = {value: number for number, value in enumerate(sorted({value for value, _ in pairs}))}
        values = np.array([numbers[value] for value, _ in pairs], np.int64)
        columns.append(ValuePairs(name, values, np.array([i for _, i in pairs], np.int64)))
    return build(len(films), columns)


def genres_of(*genres: str) -> list[Film]:
    """Return films whose titles and years have nothing in common."""
    return [Film(f"{chr(97 + i) * 3}", None, {"genres": own.split()}) for i, own in enumerate(genres)]


def test_numbers_worked_out_by_hand() -> None:
    """Of 12 films, comedy: 6, q = 1/2. War: 2, taken for 3, q = 1/4. The genre of one film alone only divides."""
    films = genres_of("comedy", "comedy war", "comedy lonely", *["comedy"] * 3, "war", *[""] * 5)
    # History: film 0, then film 1, which is newer: weights .95/1.95 and 1/1.95.
    comedy = math.log(1 + 1 / (3 * 1 / 2))  # both have it
    war = math.log(1 + (1 / 1.95) / (3 * 1 / 4))
    halves = [comedy / 2, (comedy + war) / 3, comedy / 3, *[comedy / 2] * 3, war / 2]
    expected = [*halves, *[0] * 5]
    found = index_of(films).scores([0, 1])
    assert found.tolist() == pytest.approx([2.92 * nats for nats in expected], abs=1e-12)
    assert found[6] == pytest.approx(2.92 * 0.5207 / 2, abs=1e-3)
    assert index_of(films).scores([]).tolist() == [0] * 12
    assert facts_in_common(films, [0, 1]) == pytest.approx(found.tolist(), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_any_films_have_in_common_what_loops_say(seed: int) -> None:
    rng = random.Random(seed)
    films = random_films(rng, rng.choice([3, 20, 150, 400]))
    index = index_of(films)
    for length in (1, 3, 20, 31):
        history = rng.sample(range(len(films)), min(length, len(films)))
        found = index.scores(history)
        assert found.tolist() == pytest.approx(facts_in_common(films, history), abs=1e-9)
        assert (found >= 0).all()
    if len(films) == 400:  # both kinds of columns are there
        grouped = {column.name for column in index.columns if column.group_of is not None}
        assert {"genres", "label"} <= grouped
        assert grouped.isdisjoint({"cast", "title"})


def test_the_latest_titles_count_each_once_and_newer_ones_more() -> None:
    films = genres_of(*[f"{kind} {kind}x" for kind in ("comedy", "war") for _ in range(LATEST + 5)])
    index, n = index_of(films), LATEST + 5
    wars = list(range(n, n + LATEST))
    assert index.scores([0, *wars])[1] == 0  # the 21st latest is a comedy
    assert index.scores([0, *wars[1:]])[1] > 0
    newer_war, newer_comedy = index.scores([0, n]), index.scores([n, 0])
    assert newer_war[n + 1] > newer_comedy[n + 1]
    assert newer_comedy.tolist() == index.scores([0, n, 0]).tolist()


def test_without_columns_there_is_nothing() -> None:
    for index in (build(3, []), index_of(genres_of("comedy", "war", ""))):
        assert index.columns == ()
        assert index.scores([0, 2]).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("names", "weight"),
    [
        (("genres", "Genre", "GENRES"), 2.92),
        (("director", "author", "Writers", "label"), 0.39),
        (("cast", "Actors", "star", "narrator"), 0.93),
        (("country", "countries"), 0.97),
        (("language", "Languages"), 0.69),
        (("keyword", "keywords"), 0.81),
        (("year",), 1.20),
        (("title",), 0.27),
    ],
)
def test_names_of_columns_have_weights(names: tuple[str, ...], weight: float) -> None:
    others = {name for name in names if column_weight(name, 5.0) != weight}
    assert others == {"label"} & set(names)


def test_other_columns_weigh_by_how_much_their_values_say() -> None:
    assert column_weight("mood", 4.6) == pytest.approx(3.4 / 4.6)
    assert column_weight("mood", 0.1) == column_weight("mood", 2.0) == pytest.approx(1.7)
    # 40 films, moods: calm 30 (q 3/4), loud 4 (q 1/10), and 6 that one film each has (3 of 40 as the least).
    moods = ["calm"] * 30 + ["loud"] * 4 + [f"own{i}" for i in range(6)]
    index = index_of([Film(f"{i}", None, {"mood": [mood]}) for i, mood in enumerate(moods)])
    information = -(30 * math.log(0.75) + 4 * math.log(0.1) + 6 * math.log(3 / 40)) / 40
    assert information < 2
    assert index.weights == (1.7,)
    rare = index_of([Film(f"{i}", None, {"mood": [f"m{i // 2}"]}) for i in range(200)])
    assert rare.weights == pytest.approx((3.4 / math.log(200 / 3),))
