"""What is read out of a source's row: genres in one vocabulary, facts of a lead, keywords, names."""

from __future__ import annotations

import pytest

from genrec_edge.convert.films import genres, leads, names, sources
from genrec_edge.convert.films.film import Film
from genrec_edge.convert.films.keywords import MOST, keywords
from genrec_edge.convert.films.vocabulary import VOCABULARY, read
from genrec_edge.errors import GenRecError


def test_genres_of_every_source_become_those_of_the_first_films() -> None:
    assert genres.mapped(["science fiction", "crime thriller", "animated"]) == ["Sci-Fi", "Thriller", "Animation"]
    assert genres.mapped(["Short", "Film-Noir", "Crime", "Drama"]) == ["Crime", "Drama"]
    with pytest.raises(KeyError, match="Telenovela"):
        genres.mapped(["Telenovela"])


@pytest.mark.parametrize(
    ("lead", "found"),
    [
        (
            "Hustlers is a 2019 American crime drama film written and directed by Lorene Scafaria, based on",
            ["Lorene Scafaria"],
        ),
        ("It was directed by Joel and Ethan Coen.", ["Joel Coen", "Ethan Coen"]),
        (
            "The film was directed by Chris Buck and Jennifer Lee, produced by Peter Del Vecho",
            ["Chris Buck", "Jennifer Lee"],
        ),
        ("a film directed by and starring Sean Penn. His daughter", ["Sean Penn"]),
        ("an action film directed by M. Night Shyamalan and starring", ["M. Night Shyamalan"]),
        ("a comedy film directed by the Farrelly brothers", []),
        ("a film about a director", []),
    ],
)
def test_directors_stand_after_directed_by(lead: str, found: list[str]) -> None:
    assert leads.directors(lead) == found


def test_kind_year_and_origin_stand_in_the_opening() -> None:
    lead = (
        "Sing Street is a 2016 Irish-American coming-of-age musical romantic comedy film. It is a war film to nobody."
    )
    assert leads.year(lead) == 2016
    assert set(leads.genres(lead, ["Drama"])) == {"Drama", "Romance", "Comedy", "Musical"}
    assert leads.origin("Roma is a 2018 Spanish-language Mexican drama film.") == {
        "country": ["Mexico"],
        "language": ["Spanish"],
    }
    assert leads.origin("Roma is by somebody.") == {}


def of(lead: str = "", title: str = "X", **more: list[str]) -> list[str]:
    made = Film(title, 2000, "wikipedia", lead=lead, marks=set(more.get("marks", [])))
    made.words = more.get("words", [])
    return keywords([made])[0]


def test_keywords_are_words_and_their_plurals() -> None:
    assert of("A gang of zombies robs a bank.") == ["bank robbery", "gang", "zombie"]
    assert of("He studies zombieism.") == []
    assert of("A heist goes wrong.") == of("Two heists go wrong.") == ["heist"]
    assert of("It is set in World War II.") == ["world war ii"]
    assert of("It is set in World War I.") == ["world war i"]


def test_names_are_no_keywords() -> None:
    assert of(
        "It stars Kevin Costner, Jim Christmas-Jones and Val Kilmer as Ray Shark; made by Dragon Robot Pictures."
    ) == ["christmas"], "only what is always written with a capital counts in capitals"
    assert of("It became a cult classic.") == []
    assert of("In a cult, nobody sleeps.") == ["cult"]


def test_titles_count_for_words_that_titles_mean() -> None:
    assert of(title="The Christmas Heist") == ["christmas", "heist"]
    assert of(title="Dog Day Afternoon") == of(title="The Wolf of Wall Street") == []


def test_kinds_and_words_by_hand_become_keywords_and_come_first() -> None:
    assert of(marks=["Superhero", "Drama"]) == ["superhero"]
    assert of("A robot and a zombie.", words=["prison", "no such keyword"]) == ["prison", "robot", "zombie"]
    many = "murder zombie robot heist wedding prison vampire"
    assert len(of(many)) == MOST


def test_the_rarest_words_come_first() -> None:
    films = [Film("A", 2000, "wikipedia", lead="a robot and a heist"), Film("B", 2000, "wikipedia", lead="a heist")]
    assert keywords(films) == [["robot", "heist"], ["heist"]]


def test_the_vocabulary_has_no_genre_and_no_trade_word() -> None:
    assert len(VOCABULARY) > 200
    assert VOCABULARY.isdisjoint(genre.lower() for genre in genres.GENRES)
    assert VOCABULARY.isdisjoint({"film", "sequel", "remake", "premiere", "independent film", "box office"})
    with pytest.raises(ValueError, match="no keyword"):
        read("a line without words")


def test_names_take_the_spelling_of_the_first_films() -> None:
    first = Film("Shoplifters", 2008, "bokeh", facts={"director": ["Hirokazu Kore-eda"]})
    added = Film("Monster", 2023, "wikidata", facts={"director": ["Hirokazu Koreeda", "Nobody Else"]})
    assert names.respell([first, added]) == 1
    assert added.facts["director"] == ["Hirokazu Kore-eda", "Nobody Else"]


def test_a_changed_or_missing_source_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    name = next(iter(sources.PINS))
    with pytest.raises(GenRecError, match="cannot read"):
        sources.text(name, folder)
    (folder / name).parent.mkdir()
    (folder / name).write_bytes((sources.FOLDER / name).read_bytes()[:-1])
    with pytest.raises(GenRecError, match="is not the pinned file"):
        sources.text(name, folder)


def test_rows_of_every_source() -> None:
    row = 'qid,title,year,runtime,directors,actors,genre\nQ5,"A, B",2016,98.0,"C D, E F, Jr.",http://x,comedy|drama\n'
    (made,) = sources.wikidata(row)
    assert (made.id, made.title, made.year, made.runtime) == ("Q5", "A, B", 2016, 98)
    assert made.facts == {"genres": ["Comedy", "Drama"], "director": ["C D", "E F, Jr."], "cast": []}
    rows = "0068646::The Godfather (1972)::Crime|Drama\n0000001::Show (2000)::Talk-Show\n"
    (made,) = sources.movietweetings(rows, "::")
    assert (made.id, made.title, made.year) == ("tt0068646", "The Godfather", 1972)
    assert sources.ratings("1::0068646::9::5\n2::0068646::9::5\n2::0068646::8::9\n") == {"tt0068646": 2}
    dated, undated = sources.redial("id\ttitle\tmentions\n1\tHeat (1995)\t7\n2\tOkja\t8\n")
    assert (dated.title, dated.year, dated.mentions, undated.year) == ("Heat", 1995, 7, 0)


def test_every_word_by_hand_is_in_the_vocabularies() -> None:
    films = list(sources.by_hand(sources.plain_text(sources.BY_HAND)))
    assert len(films) > 2000
    assert not {word for film in films for word in film.words} - VOCABULARY
    assert {film.renown for film in films} == {1, 2, 3}
    assert len({(film.title, film.year) for film in films}) == len(films)
