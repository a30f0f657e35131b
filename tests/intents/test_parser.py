"""Sentences to conditions: which facts they name, which items satisfy the condition, and how often that is right."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrec_edge.catalog import titles
from genrec_edge.catalog.edit import add_item
from genrec_edge.catalog.facts import CatalogFacts, facts_text
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.datasets.intent_phrases import VAGUE_PHRASES
from genrec_edge.intents.lexicon import words_of
from genrec_edge.intents.parser import IntentParser, intent_text
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

FRENCH = "(language = 'French' OR country = 'France')"
ITALIAN = "(language = 'Italian' OR country = 'Italy')"
EASTWOOD = "(director = 'Clint Eastwood' OR cast = 'Clint Eastwood')"
HITCHCOCK = "(director = 'Alfred Hitchcock' OR cast = 'Alfred Hitchcock')"
COMEDY, DRAMA, HORROR = "genres = 'Comedy'", "genres = 'Drama'", "genres = 'Horror'"
NINETIES = "year BETWEEN 1990 AND 1999"

TEMPLATES = (
    "a {genre} from the {decade}",
    "I'd like to see a {genre} with {actor}",
    "something by {director}, preferably from the {decade}",
    "{language} {genres} of the {decade}",
    "can you find me a good {genre} in {language}?",
    "a {genre} film starring {actor} that is not too long",
    "{genres} from {country}, please",
    "We are in the mood for a {genre} directed by {director}",
    "a dark and slow {genre} about two sisters, with {actor}",
    "anything with {actor}",
    "{decade}, {language}, {genre}",
    "a {language} film with {actor}",
)

UNSEEN_TEMPLATES = (
    "My wife loves {genres} and we both adore {actor}",
    "Got any {language}-language {genres}?",
    "tonight it has to be a {genre}, ideally something {actor} was in",
    "{director} made some great {genres}, which one is best?",
    "what are the funniest {decade} {genres}",
    "an underrated {genre} shot in {country} during the {decade}",
    "give me {actor} in a {genre}",
    "more of {director}'s work",
    "an old {genre} ({decade}) about revenge",
    "{genre} / {language} / {decade}",
    "I've seen everything by {director}; any other {genre} you would recommend?",
    "{country} has made wonderful {genres} lately",
)
"""Written after the parser was finished, and nothing was changed for them."""

VAGUE_SENTENCES = """
a film for my son|something slow and melancholic|life|war of the worlds|something for a family evening
a gift for my mother|something light after a long day|I want to cry|the history of my family|a film about a family
music to fall asleep to|an action packed evening|the adventure of a lifetime|crime and punishment|war and peace
a mystery man|my son loves sport|the drama queen next door|comedy of errors|the italian job|the english patient
a polish on my shoes|french kiss|something my old friend would like|will power|a summer love in the city
something with a twist|feel-good and warm|dark, bleak and honest|something to watch with grandma|for a rainy Sunday
a story about growing up|what should I watch tonight?|surprise me|anything good|I am tired and sad|one more before bed
something short|the one everybody talks about|a real classic|a journey through time|people who find each other
about friendship and courage|small town secrets|a strong woman who fights back|something with dogs
deep sea and submarines|a long train ride|to learn something new|good for a first date|not too scary for the kids
not too long, please|without blood|no violence|the best of the best|nothing too serious
a woman in her forties finds herself|growing up in the 1950s|set in the eighties|the class of 1984|blade runner 2049
2001: a space odyssey|trips to France and Italy|learning to speak Spanish|turkey for dinner|a man called Max|the crow
in a common cause|prince of darkness|stone cold hearts|the king of the hill|the law of the jungle|young at heart
a hard day of work|romantic dinner by candlelight|a musical chairs tournament|the western front|a horror of spiders
the life of an American in Paris|friends for ever|books and music and rain|a family of musicians at war
at war with the family|history repeats itself|the sound of music|a quiet place to think|the mystery of love
fantasy football with the boys|biography of a city|Jordan is my best friend|sports fans only|Something by the sea
With Love|Starring my kids|By the book|Best of the nineties nostalgia|the price of freedom
a common friend, usher and prince
"""
"""By | and lines: what names no fact, much of it with words that are values of the catalog."""


def vague_sentences() -> list[str]:
    own = [sentence for line in VAGUE_SENTENCES.strip().splitlines() for sentence in line.split("|")]
    return own + [sentence for sentences in VAGUE_PHRASES.values() for sentence in sentences]


@pytest.fixture(scope="module")
def parser(films: Catalog) -> IntentParser:
    return IntentParser(CatalogFacts(films))


@pytest.mark.parametrize(
    ("sentence", "parts", "rest"),
    [
        ("comedy, 1990s, French", [COMEDY, NINETIES, FRENCH], ""),
        ("comedies from the 90s", [COMEDY, NINETIES], ""),
        ("comedies of the '90s", [COMEDY, NINETIES], ""),
        ("COMEDIES OF THE NINETIES", [COMEDY, NINETIES], ""),
        ("comedy and drama", [COMEDY, DRAMA], ""),
        ("comedy or drama, 1990s", [f"({COMEDY} OR {DRAMA})", NINETIES], ""),
        ("French comedy or Italian drama", [f"({FRENCH} AND {COMEDY} OR {ITALIAN} AND {DRAMA})"], ""),
        ("French and Italian films", [f"({FRENCH[1:-1]} OR {ITALIAN[1:-1]})"], ""),
        ("80s and 90s horror", [f"(year BETWEEN 1980 AND 1989 OR {NINETIES})", HORROR], ""),
        ("with Tom Hanks and Meg Ryan", ["cast = 'Tom Hanks'", "cast = 'Meg Ryan'"], ""),
        ("by Woody Allen or Sidney Lumet", ["(director = 'Woody Allen' OR director = 'Sidney Lumet')"], ""),
        ("Clint Eastwood", [EASTWOOD], ""),
        ("films by Clint Eastwood", ["director = 'Clint Eastwood'"], ""),
        ("starring clint eastwood", ["cast = 'Clint Eastwood'"], ""),
        ("something with tom cruse", ["cast = 'Tom Cruise'"], ""),
        ("Samuel Jackson action film", ["cast = 'Samuel L. Jackson'", "genres = 'Action'"], ""),
        ("a hitchcock thriller", [HITCHCOCK, "genres = 'Thriller'"], ""),
        ("Hitchcock\N{RIGHT SINGLE QUOTATION MARK}s thrillers", [HITCHCOCK, "genres = 'Thriller'"], ""),
        ("Woody Allen's comedies", ["(director = 'Woody Allen' OR cast = 'Woody Allen')", COMEDY], ""),
        ("a thriler from the 1970's", ["genres = 'Thriller'", "year BETWEEN 1970 AND 1979"], ""),
        ("science fiction", ["genres = 'Sci-Fi'"], ""),
        ("sci-fi from the USA", ["genres = 'Sci-Fi'", "country = 'United States'"], ""),
        ("a romantic comedy", ["genres = 'Romance'", COMEDY], ""),
        ("family crime drama", ["genres = 'Family'", "genres = 'Crime'", DRAMA], ""),
        ("no horror", [f"NOT ({HORROR})"], ""),
        ("no horror or westerns", [f"NOT ({HORROR})", "NOT (genres = 'Western')"], ""),
        ("no French horror", [f"NOT ({FRENCH} AND {HORROR})"], ""),
        ("comedy but not French", [COMEDY, f"NOT {FRENCH}"], ""),
        ("anything but westerns", ["NOT (genres = 'Western')"], ""),
        ("nothing with Tom Cruise", ["NOT (cast = 'Tom Cruise')"], ""),
        ("nothing but westerns", ["genres = 'Western'"], ""),
        ("I don't like horror", [f"NOT ({HORROR})"], ""),
        ("nothing from the 90s", [f"NOT ifnull({NINETIES}, 0)"], ""),
        ("a 1994 comedy", ["year = 1994", COMEDY], ""),
        ("films from 1994", ["year = 1994"], ""),
        ("1990-1995", ["year BETWEEN 1990 AND 1995"], ""),
        ("from 1995 to 1990", ["year BETWEEN 1990 AND 1995"], ""),
        ("from the 80s to the 90s", ["year BETWEEN 1980 AND 1999"], ""),
        ("between 1990 and 1995", ["year BETWEEN 1990 AND 1995"], ""),
        ("after 1990 and before 2000", ["year > 1990", "year < 2000"], ""),
        ("before the 80s", ["year < 1980"], ""),
        ("after the eighties", ["year > 1989"], ""),
        ("since 1995, no war films", ["year >= 1995", "NOT (genres = 'War')"], ""),
        ("pre-1980 drama", ["year < 1980", DRAMA], ""),
        ("1995 or later", ["year >= 1995"], ""),
        ("until the 50s", ["year <= 1959"], ""),
        ("late 80s horror", ["year BETWEEN 1985 AND 1989", HORROR], ""),
        ("a slow French comedy about two brothers", [FRENCH, COMEDY], "slow, about two brothers"),
        ("something melancholic, no horror", [f"NOT ({HORROR})"], "something melancholic"),
        ("documentary about Bob Dylan", ["genres = 'Documentary'"], "about Bob Dylan"),
        ("I want to see a comedy from France tonight, please", [COMEDY, "country = 'France'"], ""),
        ("comedy' OR 1=1 --", [COMEDY], "1=1"),
        ("films about dinosaurs", ["keywords = 'dinosaurs'"], ""),
        ("a kids film about pirates", ["keywords = 'pirates'"], "kids film"),
        ("Zombie comedies from the 2010s", ["keywords = 'zombie'", COMEDY, "year BETWEEN 2010 AND 2019"], ""),
        ("no serial killers", ["NOT (keywords = 'serial killer')"], ""),
        ("a heist film with Brad Pitt", ["keywords = 'heist'", "cast = 'Brad Pitt'"], ""),
    ],
)
def test_conditions_and_the_remaining_text(
    sentence: str, parts: list[str], rest: str, parser: IntentParser, films: Catalog
) -> None:
    reading = parser.parse(sentence)
    assert (list(reading.parts), reading.rest, reading.text) == (parts, rest, sentence)
    assert reading.where is not None
    assert len(films.filter(reading.where))


@pytest.mark.parametrize(
    "sentence",
    [
        "something like The English Patient",
        "a woman in her forties",
        "a polish on my shoes",
        "the war of the worlds",
        "for my family",
        "with my dog",
        "a film for a summer evening",
        "crime and punishment",
        "not an especially good comedy",
        "Tom Cruise Missile",
        "2001: A Space Odyssey",
        "",
        " \x00\u202e",
        "🎬",
        "\ud800",
        "'",
    ],
)
def test_sentences_without_facts_are_left_as_they_are(sentence: str, parser: IntentParser) -> None:
    reading = parser.parse(sentence)
    assert (reading.facts, reading.parts, reading.where) == ((), (), None)
    assert reading.rest == "".join(c for c in sentence if c.isprintable()).strip()


UK, USA = "country = 'United Kingdom'", "country = 'United States'"


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("horror but not from the US", [HORROR, f"NOT ({USA})"]),
        ("no comedy from the US", [f"NOT ({COMEDY} AND {USA})"]),
        ("horror but not from us", [HORROR, f"NOT ({USA})"]),
        ("NO COMEDY FROM THE US", [f"NOT ({COMEDY} AND {USA})"]),
        ("US and UK horror", [f"({USA} OR {UK})", HORROR]),
        ("non-US films", [f"NOT ({USA})"]),
        ("not from the U.S.A.", [f"NOT ({USA})"]),
        ("comedies from the States", [COMEDY, USA]),
        ("comedies from the uk", [COMEDY, UK]),
        ("horror from England", [HORROR, UK]),
        ("USSR films", ["country = 'Soviet Union'"]),
        ("horror from the UAE", [HORROR, "country = 'United Arab Emirates'"]),
        ("recommend us a comedy", [COMEDY]),
        ("GIVE US A COMEDY", [COMEDY]),
        ("let us see a comedy", [COMEDY]),
        ("all the best for us", []),
        ("comedy, no uk, no us", [COMEDY, f"NOT ({UK})", f"NOT ({USA})"]),
        ("no horror from the uk or us", [f"NOT ({HORROR} AND ({UK} OR {USA}))"]),
        ("us or uk horror", [f"({USA} OR {UK})", HORROR]),
        ("british or american horror", [f"({UK} OR {USA})", HORROR]),
        ("no british or us horror", [f"NOT (({UK} OR {USA}) AND {HORROR})"]),
        ("US only, no horror", [USA, f"NOT ({HORROR})"]),
        ("no comedy for us and nobody else", [f"NOT ({COMEDY})"]),
    ],
)
def test_short_names_of_countries(sentence: str, parts: list[str], parser: IntentParser) -> None:
    assert list(parser.parse(sentence).parts) == parts


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("no comedies or horror from the US", [f"NOT (({COMEDY} OR {HORROR}) AND {USA})"]),
        ("no comedies from the US or the UK", [f"NOT ({COMEDY} AND ({USA} OR {UK}))"]),
        ("no British or American comedies", [f"NOT (({UK} OR {USA}) AND {COMEDY})"]),
        ("no horror and no comedies from the UK", [f"NOT ({HORROR})", f"NOT ({COMEDY} AND {UK})"]),
        (
            "no comedies from the UK and no horror from the UK",
            [f"NOT ({COMEDY} AND {UK})", f"NOT ({HORROR} AND {UK})"],
        ),
        ("no comedies from the UK or horror", [f"NOT ({COMEDY} AND {UK})", f"NOT ({HORROR})"]),
        ("no comedy or horror", [f"NOT ({COMEDY})", f"NOT ({HORROR})"]),
        ("no comedy, no comedy", [f"NOT ({COMEDY})"]),
        ("nothing from the UK or the US", [f"NOT ({UK})", f"NOT ({USA})"]),
        ("excluding horror", [f"NOT ({HORROR})"]),
        ("comedies excluding the US", [COMEDY, f"NOT ({USA})"]),
        ("films that aren't from the UK", [f"NOT ({UK})"]),
        ("comedies that weren't made in the US", [COMEDY, f"NOT ({USA})"]),
        ("comedies from outside the US", [COMEDY, f"NOT ({USA})"]),
        ("none from the US, skip horror", [f"NOT ({USA})", f"NOT ({HORROR})"]),
        ("comedy minus horror", [COMEDY, f"NOT ({HORROR})"]),
        ("comedy -horror", [COMEDY, f"NOT ({HORROR})"]),
        ("comedy - horror", [COMEDY, HORROR]),
        ("non-US horror", [HORROR, f"NOT ({USA})"]),
        ("non-British comedies, no horror", [COMEDY, f"NOT ({UK})", f"NOT ({HORROR})"]),
        ("no romance comedies", [f"NOT (genres = 'Romance' AND {COMEDY})"]),
    ],
)
def test_what_an_exclusion_takes_in(sentence: str, parts: list[str], parser: IntentParser) -> None:
    assert list(parser.parse(sentence).parts) == parts


def test_values_that_are_words_of_a_request(tmp_path: Path) -> None:
    genres = ["Comedy", "War", "Other", "Show", "Nothing", "Love"]
    lines = [f"T{i},{genres[i % 6]}|{genres[(5 * i + 1) % 6]}" for i in range(60)]
    (tmp_path / "c.csv").write_text("title,genres\n" + "\n".join(lines) + "\n")
    build(tmp_path / "c.csv", tmp_path / "c.db", lists=["genres"])
    with Catalog.open(tmp_path / "c.db") as catalog:
        parser = IntentParser(CatalogFacts(catalog))
        for sentence, where in {
            "anything other than war": "NOT (genres = 'War')",
            "show me a comedy": COMEDY,
            "show us a show": "genres = 'Show'",
            "nothing with war": "NOT (genres = 'War')",
            "a comedy, no love": f"{COMEDY} AND NOT (genres = 'Love')",
            "genre Other": "genres = 'Other'",
            "I would love a comedy": COMEDY,
        }.items():
            assert parser.parse(sentence).where == where, sentence


@pytest.mark.parametrize("column", ["author", "Artist", "creator", "writer", "composer", "authors"])
def test_whoever_made_an_item_is_understood_after_by(column: str, tmp_path: Path) -> None:
    people = ["Agatha Christie", "J. R. R. Tolkien", "Plato", *(f"Ann Writer{'abcdefghij'[i]}" for i in range(10))]
    lines = [f'Title {i},"{person}",{"Tom Reader"}' for i, person in enumerate(people)]
    (tmp_path / "c.csv").write_text(f"title,{column},narrator\n" + "\n".join(lines) + "\n")
    build(tmp_path / "c.csv", tmp_path / "c.db", lists=["authors"] if column == "authors" else [])
    with Catalog.open(tmp_path / "c.db") as catalog:
        parser = IntentParser(CatalogFacts(catalog))
        for sentence, person in {
            "a novel by Agatha Christie": "Agatha Christie",
            "something written by agatha cristie": "Agatha Christie",
            "books by J.R.R. Tolkien": "J. R. R. Tolkien",
            "something by Plato": "Plato",
        }.items():
            where = parser.parse(sentence).where
            assert where == f"{column} = '{person}'", sentence
            assert len(catalog.filter(where)) == 1
        excluded = parser.parse("nothing by Agatha Christie").where
        assert excluded is not None
        assert len(catalog.filter(excluded)) == len(people) - 1
        assert parser.parse("with Tom Reader").where == "narrator = 'Tom Reader'"


def test_countries_by_their_codes(tmp_path: Path) -> None:
    rows = [("Kiss", "US"), ("Blow", "IT"), ("Trip", "NO"), ("Loaf", "GB"), ("Heist", "IN")]
    lines = [f"{title} {i},{country},Comedy" for i in range(40) for title, country in rows]
    (tmp_path / "c.csv").write_text("title,country,genres\n" + "\n".join(lines) + "\n")
    build(tmp_path / "c.csv", tmp_path / "c.db", lists=["genres"])
    with Catalog.open(tmp_path / "c.db") as catalog:
        parser = IntentParser(CatalogFacts(catalog))
        for sentence, where in {
            "comedy from the USA": f"{COMEDY} AND country = 'US'",
            "not from the United States": "NOT ifnull(country = 'US', 0)",
            "comedy from Britain": f"{COMEDY} AND country = 'GB'",
            "comedies from IT or NO": f"{COMEDY} AND (country = 'IT' OR country = 'NO')",
            "show it to us, no comedy in it": f"NOT ({COMEDY})",
            "is it a comedy": COMEDY,
        }.items():
            assert parser.parse(sentence).where == where, sentence


def test_the_text_for_a_prompt(parser: IntentParser) -> None:
    assert intent_text(parser.parse("a slow comedy from the 90s, no horror")) == "Comedy, 1990s; slow"
    assert intent_text(parser.parse("Clint Eastwood")) == "Clint Eastwood"
    assert intent_text(parser.parse("since 1994")) is None
    assert intent_text(None) is None


@pytest.mark.slow
def test_conditions_hold_for_the_items_that_have_the_facts_and_no_others(films: Catalog, parser: IntentParser) -> None:
    rows = [row for row, _, _ in films.titles()]
    facts_of = dict(zip(rows, map(set, CatalogFacts(films).of(rows)), strict=True))
    comedy, nineties, horror = Fact("genres", "Comedy"), Fact("decade", "1990s"), Fact("genres", "Horror")
    france, french = Fact("country", "France"), Fact("language", "French")
    expected: dict[str, Callable[[set[Fact]], bool]] = {
        "comedies from the 90s": lambda facts: {comedy, nineties} <= facts,
        "comedy or horror": lambda facts: bool({comedy, horror} & facts),
        "French comedy": lambda facts: comedy in facts and bool({france, french} & facts),
        "no French horror": lambda facts: not (horror in facts and {france, french} & facts),
        "no comedy, no horror": lambda facts: not {comedy, horror} & facts,
        "Clint Eastwood": lambda facts: "Clint Eastwood" in {fact.value for fact in facts},
        "French comedy or 90s horror": lambda facts: (
            (comedy in facts and bool({france, french} & facts)) or {horror, nineties} <= facts
        ),
    }
    for sentence, holds in expected.items():
        where = parser.parse(sentence).where
        assert where is not None
        assert films.filter(where).tolist() == [row for row in rows if holds(facts_of[row])], sentence


def shop(path: Path) -> Path:
    things: list[dict[str, Any]] = [
        {"title": "Kettle", "brand": "Apple", "makers": ["Jim O'Hara", "Ann Lee"], "kind": "Household"},
        {"title": "Pan", "brand": "Apple", "makers": ["Jim O'Hara", "Bo Chen"], "kind": "Household"},
        {"title": "Lamp", "brand": "O'Neill", "makers": ["Bo Chen", "Ann Lee"], "kind": "Light"},
        {"title": "Torch", "brand": None, "makers": ["Bo Chen", "Jim O'Hara"], "kind": "Light"},
    ]
    things = [thing | {"id": f"{thing['title']}{i}"} for i in range(15) for thing in things]
    source_path = path.with_suffix(".jsonl")
    source_path.write_text("".join(json.dumps(thing) + "\n" for thing in things))
    build(source_path, path)
    return path


def test_a_catalog_of_other_things(tmp_path: Path) -> None:
    with Catalog.open(shop(tmp_path / "c.db")) as catalog:
        parser = IntentParser(CatalogFacts(catalog))
        assert parser.parse("apple or light").where == "(brand = 'Apple' OR kind = 'Light')"
        assert parser.parse("an apple pie").where is None
        names = parser.parse("something of Jim O'Hara").where
        assert names == "makers = 'Jim O''Hara'"
        assert len(catalog.filter(names)) == 45
        not_apple = parser.parse("not Apple").where
        assert not_apple is not None
        assert len(catalog.filter(not_apple)) == 30, "a thing without a brand is not of that brand"


def test_a_changed_catalog_is_read_again(tmp_path: Path) -> None:
    path = shop(tmp_path / "c.db")
    with Catalog.open(path) as catalog:
        parser = IntentParser(CatalogFacts(catalog))
        assert parser.parse("by Zoe Quill").where is None
        add_item(path, "Clock", columns={"makers": "Zoe Quill"})
        assert parser.parse("by Zoe Quill").where == "makers = 'Zoe Quill'"


@pytest.mark.parametrize(
    "sentence",
    [
        "x" * 20_000,
        "comedy " * 3_000,
        "john qqq " * 3_000,
        "no " * 7_000,
        "(" * 20_000,
        "1990s, " * 3_000,
        "a, " * 9_000,
    ],
)
def test_endless_sentences(sentence: str, parser: IntentParser, films: Catalog) -> None:
    reading = parser.parse(sentence)
    assert len(reading.rest) <= 2_000
    if reading.where is not None:
        films.filter(reading.where)


PIECES = "comedy|no|or|and|French|the|90s|,|Tom Cruise|with|by|from|1994|before|O'Hara|film|war|but|not|'|--|;|like|of"


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.lists(st.sampled_from(PIECES.split("|")), max_size=25).map(" ".join))
def test_any_text_makes_a_condition_that_works(text: str, parser: IntentParser, films: Catalog) -> None:
    reading = parser.parse(text)
    assert bool(reading.parts) == (reading.where is not None)
    if reading.where is not None:
        films.filter(reading.where)
    for part in reading.parts:
        films.filter(part)
    words = iter(word.key for word in words_of(titles.printable(text)))
    assert all(word.key in words for word in words_of(reading.rest)), "the rest is made of words of the text, in order"


def with_an_error(name: str, rng: random.Random) -> str:
    """One letter of a name left out, doubled, replaced, or swapped with the next."""
    i = rng.choice([i for i in range(len(name) - 1) if name[i].isalpha() and name[i + 1].isalpha()])
    kind = rng.choice(["out", "double", "other", "swap"])
    middle = {"out": "", "double": name[i] * 2, "other": rng.choice("abcdefghijklmnopqrstuvwxyz")}
    if kind == "swap":
        return name[:i] + name[i + 1] + name[i] + name[i + 2 :]
    return name[:i] + middle[kind] + name[i + 1 :]


def plural(genre: str) -> str:
    return f"{genre[:-1]}ies" if genre.endswith("y") else f"{genre}s"


def fill_template(template: str, facts: Sequence[Fact], rng: random.Random) -> tuple[str, list[str]] | None:
    """Return a sentence with facts of an item, and their values; None if the item does not have one of them."""
    columns = {"genre": "genres", "genres": "genres", "actor": "cast"}
    words: dict[str, str] = {}
    values: list[str] = []
    for name in [part.split("}")[0] for part in template.split("{")[1:]]:
        known = [fact.value for fact in facts if fact.column == columns.get(name, name)]
        if not known:
            return None
        value = rng.choice(known)
        values.append(value)
        shown = value if name == "decade" else value.lower() if name in {"genre", "genres"} else value
        words[name] = plural(shown) if name == "genres" else shown
    if template.endswith(" about revenge"):  # a keyword since the catalog has keywords
        values.append("revenge")
    return template.format(**words), values


def measure(catalog: Catalog, n: int, seed: int) -> dict[str, dict[str, int]]:
    """Read n sentences of each kind; returns how many there were, the facts in them, those found, those right.

    The facts are of random films, and the sentences ours; vague ones and titles name no fact, whatever is found.
    """
    rng = random.Random(seed)
    catalog_facts = CatalogFacts(catalog)
    parser = IntentParser(catalog_facts)
    rows = [row for row, _, _ in catalog.titles()]
    items = catalog_facts.of(rng.sample(rows, 4 * n))
    pairs: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for i, facts in enumerate(items):
        filled = fill_template(TEMPLATES[i % len(TEMPLATES)], facts, rng)
        people = [fact.value for fact in facts if fact.column in {"cast", "director"} and " " in fact.value]
        if filled is None or not people:
            continue
        some = rng.sample(facts, min(3, len(facts)))
        pairs["facts alone"].append((facts_text(some), [fact.value for fact in some]))
        pairs["in a sentence"].append(filled)
        pairs["in small letters"].append((filled[0].lower(), filled[1]))
        unseen = fill_template(UNSEEN_TEMPLATES[i % len(UNSEEN_TEMPLATES)], facts, rng)
        if unseen is not None:
            pairs["in unseen sentences"].append(unseen)
        person = rng.choice(people)
        if len(person) > 8:
            pairs["a name with an error"].append((f"something with {with_an_error(person, rng)}", [person]))
    vague = vague_sentences()
    pairs["vague"] = [(sentence, []) for sentence in vague]
    pairs["titles"] = [(title, []) for _, title, _ in rng.sample(list(catalog.titles()), n)]
    counts: dict[str, dict[str, int]] = {}
    for kind, sentences in pairs.items():
        group = counts[kind] = defaultdict(int)
        for sentence, values in sentences[: max(n, len(vague))]:
            reading = parser.parse(sentence)
            found = {fact.value for fact in reading.facts}
            group["n"] += 1
            group["facts"] += len(set(values))
            group["found"] += len(found)
            group["right"] += len(found & set(values))
            group["no_condition"] += reading.where is None
    return counts


@pytest.mark.slow
def test_facts_that_are_named_are_found_and_no_others(films: Catalog) -> None:
    counts = measure(films, n=300, seed=3)
    for kind, (recall, precision) in {
        "facts alone": (0.9, 0.9),
        "in a sentence": (0.9, 0.9),
        "in small letters": (0.9, 0.9),
        "in unseen sentences": (0.6, 0.95),
        "a name with an error": (0.6, 0.9),
    }.items():
        assert counts[kind]["right"] / counts[kind]["facts"] >= recall, kind
        assert counts[kind]["right"] / counts[kind]["found"] >= precision, kind
    assert counts["vague"]["n"] >= 60
    assert counts["vague"]["no_condition"] / counts["vague"]["n"] >= 0.97
    assert counts["titles"]["no_condition"] / counts["titles"]["n"] >= 0.95


def figures(catalog: Catalog, n: int = 1500, seed: int = 7) -> list[str]:
    """Return the lines of figures in the docstring of `intents.parser`."""
    lines = [f"{'':22}{'n':>6}{'facts':>8}{'recall':>8}{'precision':>11}{'none found':>12}"]
    for kind, c in measure(catalog, n, seed).items():
        right = f"{c['right'] / c['facts']:8.3f}{c['right'] / c['found']:11.3f}" if c["facts"] else f"{'-':>8}{'-':>11}"
        lines.append(f"{kind:22}{c['n']:6}{c['facts']:8}{right}{c['no_condition'] / c['n']:12.3f}")
    return lines
