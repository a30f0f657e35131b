"""What happens to a row of a source: joined, added or left out, and under which id."""

from __future__ import annotations

from collections import Counter

from genrec_edge.convert.films import known, merge
from genrec_edge.convert.films.film import Film
from genrec_edge.convert.films.joins import Index


def film(title: str, year: int, source: str, film_id: str = "", **facts: list[str]) -> Film:
    made = Film(title, year, source, film_id)
    made.facts = {"genres": [], "director": [], "cast": [], **facts}
    return made


def start(*films: Film) -> merge.Merged:
    merged = merge.Merged()
    for made in films:
        merged.add(made)
    return merged


HEAT = {"director": ["Michael Mann"], "cast": ["Al Pacino", "Robert De Niro"]}


def test_a_rerelease_and_an_obscure_film_are_left_out() -> None:
    merged = start(film("Heat", 1995, "bokeh", "tt0113277", **HEAT))
    rows = [
        film("Heat", 2022, "wikidata", "Q1", director=["Michael Mann"]),
        film("Heat", 2023, "wikidata", "Q2", director=["Somebody"], cast=["A B"]),
        film("Nobody Knows This", 2022, "wikidata", "Q3"),
        film("Listed", 2022, "wikidata", "Q4"),
    ]
    merge.add_wikidata(merged, rows, Index([film("Listed", 2022, "movietweetings")]))
    assert sorted(made.id for made in merged.films) == ["Q2", "Q4", "tt0113277"]
    assert merged.counts["wikidata: left out, a re-release"] == 1


def test_a_film_by_hand_gives_title_year_and_brings_doubles_together() -> None:
    merged = start(
        film("Fantabulous Birds", 2020, "wikidata", "Q1", director=["Cathy Yan"], cast=["Margot Robbie"]),
        film("Birds of Prey", 2021, "wikidata", "Q2", director=["Cathy Yan"]),
    )
    by_hand = film("Birds of Prey", 2020, "by hand", director=["Cathy Yan"])
    by_hand.aliases = ["Fantabulous Birds"]
    by_hand.renown = 2
    merge.add_by_hand(merged, [by_hand])
    (made,) = merged.films
    assert (made.title, made.year, made.renown, made.facts["cast"]) == ("Birds of Prey", 2020, 2, ["Margot Robbie"])


def test_the_title_and_year_of_a_first_film_stay() -> None:
    merged = start(film("Nikita", 1990, "bokeh", "tt0100263", director=["Luc Besson"]))
    by_hand = film("La Femme Nikita", 1991, "by hand", director=["Luc Besson"])
    by_hand.aliases = ["Nikita"]
    merge.add_by_hand(merged, [by_hand])
    assert [(made.title, made.year, made.id) for made in merged.films] == [("Nikita", 1990, "tt0100263")]
    assert "La Femme Nikita" in merged.films[0].aliases


def test_the_lead_corrects_a_year_of_wikidata() -> None:
    merged = start(film("1917", 2020, "wikidata", "Q1", director=["Sam Mendes"]))
    row = film("1917", 2019, "wikipedia", director=["Sam Mendes"])
    row.lead = "1917 is a 2019 British war film directed by Sam Mendes."
    merge.add_wikipedia(merged, [row])
    assert [(made.title, made.year) for made in merged.films] == [("1917", 2019)]


def test_ratings_join_by_id_and_few_are_not_enough() -> None:
    merged = start(film("Spirited", 2001, "bokeh", "tt1"))
    rows = [
        film(name, 2012, "movietweetings", number) for name, number in (("Sen", "tt1"), ("New", "tt2"), ("Rare", "tt3"))
    ]
    merge.add_movietweetings(merged, rows, Counter({"tt1": 9, "tt2": 3, "tt3": 2}))
    assert [(made.id, made.ratings) for made in merged.films] == [("tt1", 9), ("tt2", 3)]


def test_a_mention_of_an_obscure_namesake_is_left_out() -> None:
    merged = start(film("Signs", 2002, "bokeh", "tt1", director=["M. Night Shyamalan"]))
    merged.films[0].mentions = 40
    row = film("Signs", 2008, "redial")
    row.mentions = 31
    merge.add_redial(merged, [row], Index(), Index([film("Signs", 2008, "movietweetings", "tt2")]))
    assert len(merged.films) == 1
    assert merged.counts["redial: left out, a better known film was meant"] == 1


def test_a_rerelease_of_a_film_that_came_later_is_left_out() -> None:
    merged = start(
        film("Armed", 2022, "wikidata", "Q1", director=["A"]), film("Armed", 2017, "wikipedia", director=["A"])
    )
    merge.drop_rereleases(merged)
    assert [made.year for made in merged.films] == [2017]


def test_ids_are_imdbs_then_wikidatas_then_readable() -> None:
    merged = start(
        film("Knives Out", 2019, "wikidata", "Q1"),
        film("Okja", 2017, "wikidata", "Q2"),
        film("Klaus", 2019, "by hand"),
    )
    merge.number(merged, Index([film("Okja", 2017, "movietweetings", "tt3967856")]))
    assert [made.id for made in merged.films] == ["Q1", "tt3967856", "klaus-2019"]


def test_of_one_title_and_year_one_film_stays() -> None:
    merged = start(
        film("Rose", 2021, "wikidata", "Q1", cast=["A"]),
        film("Rose", 2021, "wikidata", "Q2", cast=["B", "C"]),
        film("Adam", 1992, "bokeh", "tt1"),
        film("Adam", 1992, "bokeh", "tt2"),
    )
    assert {made.id for made in merge.without_doubles(merged)} == {"Q2", "tt1", "tt2"}


def test_known_is_comparable_between_years_with_and_without_counts() -> None:
    films = []
    for year in range(1996, 2006):
        for place in range(20):
            made = film(f"{year} {place}", year, "bokeh", f"tt{year}{place:02}")
            made.ratings = 2 ** (10 - place // 2)
            films.append(made)
    old = film("Old", 1950, "bokeh", "tt1950")
    old.ratings = 2
    first, second, last = (film(name, 2024, "wikidata", name) for name in ("First", "Second", "Last"))
    first.renown, second.renown = 3, 1
    scores = known.known([*films, old, first, second, last])
    assert all(0 <= score <= 100 for score in scores.values())
    assert scores["First"] == scores["tt200000"] == 100, "the best known of its year is as known as that of 2000"
    assert scores["First"] >= scores["Second"] >= scores["Last"] > scores["tt1950"]
    by_rank = [scores[f"tt2000{place:02}"] for place in range(20)]
    assert by_rank == sorted(by_rank, reverse=True)
    assert known.known([*films, old, first, second, last]) == scores
