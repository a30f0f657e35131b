"""Joins by title, year and people: what is one film, and what only looks like it."""

from __future__ import annotations

import pytest

from genrec_edge.convert.films.film import Film
from genrec_edge.convert.films.joins import Index, contradicts


def film(title: str, year: int, director: str = "", cast: str = "", aliases: str = "") -> Film:
    made = Film(title, year, "wikidata")
    made.facts = {"director": [director] if director else [], "cast": [name for name in cast.split(", ") if name]}
    made.aliases = [alias for alias in aliases.split(" | ") if alias]
    return made


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("The Matrix", 1999),
        ("Matrix, The", 1999),
        ("the matrix", 2000),
        ("Matrix", 1998),
        ("The Matrix (film)", 1999),
    ],
)
def test_spellings_and_a_neighbouring_year_are_the_same_film(title: str, year: int) -> None:
    matrix = film("The Matrix", 1999)
    assert Index([matrix]).find(film(title, year)) is matrix


@pytest.mark.parametrize(
    ("known", "typed"),
    [
        ("Birdman", "Birdman or (The Unexpected Virtue of Ignorance)"),
        ("The Godfather Part II", "The Godfather: Part 2"),
        ("The Avengers", "Marvel's The Avengers"),
        ("Star Wars: The Last Jedi", "Star Wars: Episode VIII - The Last Jedi"),
        ("Frozen II", "Frozen 2"),
    ],
)
def test_second_titles_numerals_and_owners_do_not_count(known: str, typed: str) -> None:
    one = film(known, 2014)
    assert Index([one]).find(film(typed, 2014)) is one


def test_a_remake_in_a_neighbouring_year_is_another_film() -> None:
    british = film("Gaslight", 1940, "Thorold Dickinson", "Anton Walbrook, Diana Wynyard")
    index = Index([british])
    assert index.find(film("Gaslight", 1941, "George Cukor", "Charles Boyer, Ingrid Bergman")) is None
    assert index.find(film("Gaslight", 1944)) is None
    assert index.find(film("Gaslight", 1941, "Thorold Dickinson")) is british


def test_a_shared_person_wins_over_the_exact_year() -> None:
    one = film("Alone", 2020, "A", "B, C")
    other = film("Alone", 2021, "D", "E, F")
    assert Index([one, other]).find(film("Alone", 2020, "D")) is other


def test_two_equal_candidates_are_no_answer() -> None:
    assert Index([film("Rose", 2021), film("Rose", 2021)]).find(film("Rose", 2021)) is None


def test_an_original_title_finds_the_film() -> None:
    spirited = film("Spirited Away", 2001, "Hayao Miyazaki", aliases="Sen to Chihiro no kamikakushi")
    assert Index([spirited]).find(film("Sen to Chihiro no kamikakushi", 2001)) is spirited


def test_one_name_for_different_tasks_is_no_contradiction() -> None:
    assert not contradicts(film("X", 2000, "A"), film("X", 2000, "", "B, C"))
    assert contradicts(film("X", 2000, "A"), film("X", 2000, "D"))
    assert not contradicts(film("X", 2000, "A", "B"), film("X", 2000, "D", "B"))


def test_a_removed_film_is_not_found() -> None:
    one = film("The Matrix", 1999)
    index = Index([one])
    index.remove(one)
    assert index.find(film("Matrix", 1999)) is None
    assert index.named("The Matrix") == []
