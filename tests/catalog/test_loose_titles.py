"""The looser key, and what titles go by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrec_edge.catalog import titles
from genrec_edge.catalog.loose_titles import ALIAS, PART, SEQUEL, TITLE, Name, loose_key, loose_keys, names, typed_keys


@pytest.mark.parametrize(
    "spellings",
    [
        ("Rocky II", "rocky 2", "Rocky Two", "Rocky: Part 2"),
        ("Kill Bill: Volume 2", "kill bill 2", "Kill Bill Vol. 2", "kill bill part two"),
        ("Ocean's Eleven", "oceans 11", "Ocean\N{RIGHT SINGLE QUOTATION MARK}s 11"),
        ("12 Monkeys", "Twelve Monkeys"),
        ("Alien³", "Alien 3", "alien3", "ALIEN III"),
        ("8½", "8 1/2", "8 ½"),
        ("Naked Gun 33⅓: The Final Insult", "naked gun 33 1/3 the final insult"),
        ("20,000 Leagues Under the Sea", "20000 leagues under the sea", "Twenty Thousand Leagues under the Sea"),
        ("Butch Cassidy and the Sundance Kid", "butch cassidy & the sundance kid"),
        ("Romeo + Juliet", "romeo and juliet", "Romeo & Juliet"),
        ("Spider-Man", "spiderman", "Spider Man"),
        ("WALL·E", "wall-e", "walle"),
        ("M*A*S*H", "MASH"),
        ("L.A. Confidential", "LA confidential"),
        ("Matrix, The", "the matrix", "matrix"),
        ("Batman v Superman", "batman vs. superman", "Batman versus Superman"),
        ("Dr. Strangelove", "doctor strangelove"),
        ("Fifty Shades of Grey", "50 shades of gray"),
        ("Amélie", "amelie"),
        ("The Lord of the Rings: The Return of the King", "lord of the rings return of the king"),
    ],
)
def test_spellings_of_one_title(spellings: tuple[str, ...]) -> None:
    assert len({loose_key(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Toy Story", "Toy Story 2"),
        ("Toy Story 2", "Toy Story 3"),
        ("Toy Story 2", "Toy Story 22"),
        ("Rocky", "Rocky I"),
        ("8½", "812"),
        ("2 1 2", "21 2"),
        ("Chapter 27", "27"),
        ("Easy A", "Easy"),
        ("The Therapist", "The Rapist"),
        ("Alien", "Aliens"),
        ("X", "10"),
        ("V", "5"),
        ("I", "1"),
    ],
)
def test_other_titles_have_other_keys(one: str, other: str) -> None:
    assert set(loose_keys(one)).isdisjoint(loose_keys(other))


@given(title=st.text() | st.text(alphabet="the a 12½³iIvx:-(), partwo"))
def test_every_title_has_a_key(title: str) -> None:
    if titles.clean(title):
        assert loose_key(title)
        assert typed_keys(title)
        assert Name(loose_key(title), TITLE) in names(title)
        assert set(typed_keys(title)) & {name.key for name in names(title)}


def test_the_names_of_titles() -> None:
    assert names("Heat") == {Name("heat", TITLE)}
    assert names("3:10 to Yuma") == {Name("3 10toyuma", TITLE)}
    assert names("Alien: Covenant") == {
        Name("aliencovenant", TITLE),
        Name("alien", PART),
        Name("covenant", PART),
    }
    assert names("Dune: Part Two") == {Name("dune2", TITLE), Name("dune", SEQUEL)}
    assert names("Dune: Part One") == {Name("dune1", TITLE), Name("dune", PART)}
    assert names("Terminator 2: Judgment Day") == {
        Name("terminator2judgmentday", TITLE),
        Name("terminator2", PART),
        Name("judgmentday", PART),
    }
    assert Name("starwarsempirestrikesback", TITLE) in names("Star Wars: Episode V - The Empire Strikes Back")
    assert Name("starwars", SEQUEL) in names("Star Wars: Episode V - The Empire Strikes Back")
    assert names("Seventh Seal, The (Sjunde inseglet, Det)") >= {
        Name("7thseal", TITLE),
        Name("detsjundeinseglet", ALIAS),
    }
    assert Name("doctorstrangelove", PART) in names("Dr. Strangelove or: How I Learned to Stop Worrying")
    assert Name("romeojuliet", TITLE) in names("Romeo + Juliet")


def test_what_is_typed_may_leave_out_a_second_title_but_no_number() -> None:
    assert typed_keys("Heat") == ["heat"]
    assert typed_keys("Heat (film)") == ["heatfilm", "heat"]
    assert typed_keys("Alien (3)") == ["alien3"]
    assert "doctorstrangelove" in typed_keys("Dr. Strangelove, or: How I Learned to Stop Worrying")
    assert "killbill" not in typed_keys("Kill Bill or: Part 2")
