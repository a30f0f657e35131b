"""The shipped catalog to 2025 against what is known from elsewhere."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from typing import Any

import pytest

from genrec_edge.catalog import titles
from genrec_edge.convert.films import build, genres
from genrec_edge.convert.films.vocabulary import VOCABULARY

pytestmark = pytest.mark.slow

N_FIRST = 17_472
KNOWN = """
A Trip to the Moon|1902|Georges Méliès
Nosferatu|1922|F. W. Murnau
Metropolis|1927|Fritz Lang
M|1931|Fritz Lang
City Lights|1931|Charlie Chaplin
King Kong|1933|Merian C. Cooper
Modern Times|1936|Charlie Chaplin
Snow White and the Seven Dwarfs|1937|David Hand
The Wizard of Oz|1939|Victor Fleming
Gone with the Wind|1939|Victor Fleming
Casablanca|1942|Michael Curtiz
Bicycle Thieves|1948|Vittorio De Sica
Seven Samurai|1954|Akira Kurosawa
Vertigo|1958|Alfred Hitchcock
Sholay|1975|Ramesh Sippy
The Godfather|1972|Francis Ford Coppola
Grave of the Fireflies|1988|Isao Takahata
My Left Foot|1989|Jim Sheridan
Pulp Fiction|1994|Quentin Tarantino
Dilwale Dulhania Le Jayenge|1995|Aditya Chopra
Princess Mononoke|1997|Hayao Miyazaki
Spirited Away|2001|Hayao Miyazaki
The 40 Year Old Virgin|2005|Judd Apatow
3 Idiots|2009|Rajkumar Hirani
The Body|2012|Oriol Paulo
Elysium|2013|Neill Blomkamp
Mad Max: Fury Road|2015|George Miller
Room|2015|Lenny Abrahamson
Bajrangi Bhaijaan|2015|Kabir Khan
La La Land|2016|Damien Chazelle
Moonlight|2016|Barry Jenkins
Train to Busan|2016|Yeon Sang-ho
Your Name.|2016|Makoto Shinkai
Dangal|2016|Nitesh Tiwari
Get Out|2017|Jordan Peele
Dunkirk|2017|Christopher Nolan
Black Panther|2018|Ryan Coogler
Green Book|2018|Peter Farrelly
Free Solo|2018|Jimmy Chin
Parasite|2019|Bong Joon-ho
Portrait of a Lady on Fire|2019|Céline Sciamma
1917|2019|Sam Mendes
Little Women|2019|Greta Gerwig
Booksmart|2019|Olivia Wilde
Klaus|2019|Sergio Pablos
Nomadland|2020|Chloé Zhao
Soul|2020|Pete Docter
Dune|2021|Denis Villeneuve
Drive My Car|2021|Ryusuke Hamaguchi
CODA|2021|Sian Heder
Top Gun: Maverick|2022|Joseph Kosinski
Everything Everywhere All at Once|2022|Daniel Scheinert
RRR|2022|S. S. Rajamouli
Oppenheimer|2023|Christopher Nolan
Barbie|2023|Greta Gerwig
Anatomy of a Fall|2023|Justine Triet
The Boy and the Heron|2023|Hayao Miyazaki
Anora|2024|Sean Baker
Flow|2024|Gints Zilbalodis
Dune: Part Two|2024|Denis Villeneuve
I'm Still Here|2024|Walter Salles
Sinners|2025|Ryan Coogler
It Was Just an Accident|2025|Jafar Panahi
KPop Demon Hunters|2025|Maggie Kang
"""
MADE_AGAIN = {"How to Train Your Dragon"}
NAMESAKES = {
    # Of two films of one title, the better known first.
    "The Avengers": (2012, 1998),
    "Gladiator": (2000, 1992),
    "Parasite": (2019, 1982),
    "Frozen": (2013, 2010),
    "The Lion King": (1994, 2019),
    "Psycho": (1960, 1998),
}


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    with lzma.open(build.OUT_PATH, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def by_title(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault(record["title"], []).append(record)
    return found


@pytest.mark.parametrize("line", KNOWN.strip().splitlines())
def test_known_films_have_their_year_and_director(line: str, by_title: dict[str, list[dict[str, Any]]]) -> None:
    title, year, director = line.split("|")
    (film,) = [film for film in by_title.get(title, []) if film["year"] == int(year)]
    assert titles.key(director) in {titles.key(name) for name in film["director"]}
    assert film["genres"]
    assert film["known"] > 10


def test_the_first_films_come_first_and_keep_their_ids(records: list[dict[str, Any]]) -> None:
    ids = [record["id"] for record in records]
    assert len(set(ids)) == len(ids)
    first = ids[:N_FIRST]
    assert all(film_id.startswith("tt") for film_id in first)
    assert first == sorted(first)
    assert first[0] == "tt0028445"
    assert {"tt0068646", "tt0111161", "tt0468569"} <= set(first)


def test_no_added_film_has_the_title_and_year_of_another(records: list[dict[str, Any]]) -> None:
    places = Counter((titles.key(record["title"]), record["year"]) for record in records)
    first = Counter((titles.key(record["title"]), record["year"]) for record in records[:N_FIRST])
    assert {place for place, count in places.items() if count > 1} == {p for p, count in first.items() if count > 1}


def test_no_added_film_is_a_rerelease(records: list[dict[str, Any]]) -> None:
    """Those who made a film of the same title again are named."""
    releases: dict[tuple[str, str], list[int]] = {}
    for record in records:
        if record["year"] >= 2015:
            for name in record.get("director", []):
                releases.setdefault((titles.key(record["title"]), titles.key(name)), []).append(record["year"])
    for record in records[:N_FIRST]:
        for name in record.get("director", []):
            later = releases.get((titles.key(record["title"]), titles.key(name)), [])
            assert record["title"] in MADE_AGAIN or not [y for y in later if y > record["year"]], record["title"]
    assert not {place: years for place, years in releases.items() if len(years) > 1}


def test_films_of_every_year_to_2025(records: list[dict[str, Any]]) -> None:
    years = Counter(record["year"] for record in records)
    assert min(years) == 1902
    assert max(years) == 2025
    assert all(years[year] >= 550 for year in range(2015, 2026)), years
    assert sum(years[year] for year in range(1900, 1940)) >= 150
    assert 27_000 <= len(records) <= 30_000


def test_columns_hold_what_they_promise(records: list[dict[str, Any]]) -> None:
    assert {genre for record in records for genre in record.get("genres", [])} == set(genres.GENRES)
    assert {word for record in records for word in record.get("keywords", [])} <= VOCABULARY
    assert all(len(record.get("keywords", [])) <= 5 for record in records)
    assert all(isinstance(record["known"], int) and 0 <= record["known"] <= 100 for record in records)
    names = {name for record in records for fact in ("director", "cast") for name in record.get(fact, [])}
    assert not {name for name in names if name != name.strip() or name.startswith("http") or name in {"Jr.", "III"}}


def test_of_namesakes_the_better_known_has_the_higher_number(by_title: dict[str, list[dict[str, Any]]]) -> None:
    for title, (better, worse) in NAMESAKES.items():
        known = {film["year"]: film["known"] for film in by_title[title]}
        assert known[better] > known[worse], title


def test_keywords_tell_what_films_are_about(by_title: dict[str, list[dict[str, Any]]]) -> None:
    told = {
        "Jurassic Park": "dinosaurs",
        "Jaws": "shark",
        "Home Alone": "christmas",
        "Groundhog Day": "time loop",
        "The Silence of the Lambs": "serial killer",
        "Platoon": "vietnam war",
        "Shaun of the Dead": "zombie",
        "Train to Busan": "zombie",
        "The Great Escape": "prisoner of war",
        "Deadpool": "superhero",
    }
    for title, word in told.items():
        assert any(word in film.get("keywords", []) for film in by_title[title]), title


def test_other_titles_are_those_that_a_film_is_not_found_by_already(
    records: list[dict[str, Any]], by_title: dict[str, list[dict[str, Any]]]
) -> None:
    (spirited,) = by_title["Spirited Away"]
    assert spirited["aliases"] == ["Sen to Chihiro no kamikakushi"]
    (golem,) = by_title["The Golem: How He Came into the World"]
    assert golem["aliases"] == ["Der Golem, wie er in die Welt kam"]
    with_aliases = [record for record in records if "aliases" in record]
    assert len(with_aliases) > 2_000
    for record in with_aliases:
        keys = [titles.key(title) for title in (record["title"], *record["aliases"])]
        assert "" not in keys
        assert len(set(keys)) == len(keys), record["title"]
