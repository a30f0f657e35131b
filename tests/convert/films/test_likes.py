"""The sets of liked films that the package ships."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.default_catalog import shipped_films_path
from genrec_edge.convert.films import likes, sources
from genrec_edge.prior.open_likes import shipped_likes, shipped_likes_path

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_bytes_can_be_made_again(tmp_path: Path) -> None:
    said = list(likes.main(shipped_films_path(), tmp_path / "likes.json.xz"))
    assert (tmp_path / "likes.json.xz").read_bytes() == shipped_likes_path().read_bytes()
    assert said[:2] == ["movietweetings: 9,659 sets, 94,841 likes", "redial: 2,208 sets, 9,502 likes"]


def test_a_person_likes_what_was_rated_six_and_more() -> None:
    """By IMDb ids alone, which most films have."""
    found = shipped_likes()
    number_of = {item_id: place for place, item_id in enumerate(found.item_ids)}
    rated: defaultdict[int, set[int]] = defaultdict(set)
    below: defaultdict[int, set[int]] = defaultdict(set)
    for line in sources.text("movietweetings/ratings.dat.xz", sources.DATA).splitlines():
        user, film, rating, _ = line.split("::")
        place = number_of.get(f"tt{film}")
        if place is not None:
            (rated if int(rating) >= 6 else below)[int(user)].add(place)
    sets = set(found.sets["movietweetings"])
    whole = [user for user in rated if len(rated[user]) >= 10 and tuple(sorted(rated[user])) in sets]
    assert len(whole) > 0.8 * sum(len(one) >= 10 for one in rated.values())


@pytest.mark.parametrize("titled", [("The Matrix", 1999), ("Get Out", 2017), ("Casablanca", 1942)])
def test_people_talked_of_films_of_any_year(titled: tuple[str, int]) -> None:
    found = shipped_likes()
    place = found.titles.index(titled)
    assert any(place in one for one in found.sets["redial"])
