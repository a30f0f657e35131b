"""Titles to items: the resolver step by step, and how often it is right about distorted and absent titles."""

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
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.catalog.title_match import MAX_CANDIDATES
from genrec_edge.catalog.writer import build
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILMS = [
    ("1", "Matrix, The", 1999),
    ("2", "Alien", 1979),
    ("3", "Aliens", 1986),
    ("4", "Heat", 1995),
    ("5", "Heat", 1986),
    ("6", "HEAT!", 1995),
    ("7", "Aftermath", 2012),
    ("8", "Aftermath", 2012),
    ("9", "Blade Runner", 1982),
    ("10", "Blade Runner 2049", 2017),
    ("11", "Forrest Gump", 1994),
    ("12", "The Fellowship of the Ring", 2001),
    ("13", "Amélie", 2001),
    ("14", "8½", 1963),
    ("15", "Toy Story", 1995),
    ("16", "Toy Story 2", 1999),
    ("17", "Undated Documentary", None),
    ("18", "The Reckoning", 2003),
    ("19", "A Reckoning", 2011),
    ("20", "Lookout", 2007),
    ("21", "Lockout", 2012),
    ("22", "$", 1971),
]


def make(path: Path, films: Sequence[tuple[str, str, int | None]], **columns: Sequence[object]) -> Path:
    """Build a catalog of (id, title, year), with further columns."""
    source_path = path.with_suffix(".jsonl")
    rest = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    records = (
        {"id": i, "title": title, "year": year, **more}
        for (i, title, year), more in zip(films, rest or [{}] * len(films), strict=True)
    )
    source_path.write_text("".join(json.dumps(record) + "\n" for record in records))
    build(source_path, path)
    return path


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TitleResolver]:
    with Catalog.open(make(tmp_path_factory.mktemp("resolver") / "c.db", FILMS)) as catalog:
        yield TitleResolver(catalog)


@pytest.mark.parametrize(
    ("text", "item_id", "method", "confidence"),
    [
        ("Alien", "2", "exact", 1.0),
        ("Matrix, The", "1", "exact", 1.0),
        ("The Matrix", "1", "exact", 1.0),
        ("The Matrix (1999)", "1", "exact", 1.0),
        ("Heat (1986)", "5", "exact", 1.0),
        ("Heat (1995)", "4", "exact", 1.0),
        ("Aftermath", "7", "exact", 1.0),
        ("Blade Runner 2049", "10", "exact", 1.0),
        ("$", "22", "exact", 1.0),
        ("8½", "14", "exact", 1.0),
        ("  the   MATRIX!", "1", "normalised", 0.98),
        ("amelie", "13", "normalised", 0.98),
        ("heat 1986", "5", "normalised", 0.98),
        ("heat, 1986", "5", "normalised", 0.98),
        ("matrix", "1", "normalised", 0.94),
        ("a matrix", "1", "normalised", 0.94),
        ("The Reckoning", "18", "exact", 1.0),
        ("Alien (1980)", "2", "exact", 0.9),
        ("matrix 1998", "1", "normalised", 0.846),
        ("Undated Documentary (1990)", "17", "exact", 0.9),
        ("Gump, Forrest", "11", "full-text", 0.9),
        ("fellowship of the ring", "12", "normalised", 0.94),
        ("fellowship ring (2001)", "12", "full-text", None),
        ("teh matrx", "1", "fuzzy", None),
        ("teh matrx (1999)", "1", "fuzzy", None),
        ("Forest Gmup", "11", "fuzzy", None),
        ("blade runer 2049", "10", "fuzzy", None),
    ],
)
def test_texts_that_mean_an_item(
    text: str, item_id: str, method: str, confidence: float | None, resolver: TitleResolver
) -> None:
    match = resolver.resolve(text)
    assert match.item is not None
    assert (match.item.id, match.method, match.input) == (item_id, method, text)
    assert match.candidates == ()
    if confidence is None:
        assert 0.5 < match.confidence < 0.9
    else:
        assert match.confidence == pytest.approx(confidence, abs=2e-3)


@pytest.mark.parametrize(
    ("text", "candidates"),
    [("Heat", {"4", "5"}), ("heat", {"4", "5", "6"}), ("reckoning", {"18", "19"}), ("Lowkout", {"20", "21"})],
)
def test_texts_that_are_ambiguous(text: str, candidates: set[str], resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert (match.item, match.method, match.confidence) == (None, "ambiguous", 0.0)
    assert {item.id for item in match.candidates} == candidates


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("Heat (1972)", "4"),
        ("Toy Story 3", "15"),
        ("Toy Storys", "15"),
        ("Blade Runner 2048", "9"),
        ("Predator", None),
        ("Matrix Reloaded", "1"),
        ("The Fellowship", "12"),
        ("xyzzy", None),
    ],
)
def test_texts_that_are_too_far_from_any_title(text: str, nearest: str | None, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert (match.item, match.method, match.confidence) == (None, "none", 0.0)
    if nearest is not None:
        assert nearest in {item.id for item in match.candidates}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "\u200b\u202e",
        "!!!",
        "🎬🎬",
        '"',
        "*",
        "NEAR(",
        "title:",
        "a OR b",
        "'; DROP TABLE items; --",
        "x" * 10000,
        "the " * 2500,
        "�",
        "(1995)",
        "1995",
        "&amp;",
        "-",
        "^",
        "AND",
        "(((" * 1000,
        "%",
        "_",
    ],
)
def test_hostile_texts_mean_no_item(text: str, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert match.item is None
    assert match.method == "none"
    assert len(match.candidates) <= MAX_CANDIDATES


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.text(alphabet="heat alien 12459()"))
def test_any_text_has_an_answer(text: str, resolver: TitleResolver) -> None:
    match = resolver.resolve(text)
    assert (match.item is None) == (match.method in {"ambiguous", "none"})
    assert 0 <= match.confidence <= 1
    assert resolver.resolve(text) == match


def test_interactions_go_by_id_first(resolver: TitleResolver) -> None:
    by_id = resolver.resolve_interaction(Interaction(title="Heat", id="2"))
    assert by_id.item is not None
    assert (by_id.item.title, by_id.method, by_id.confidence) == ("Alien", "id", 1.0)
    by_title = resolver.resolve_interaction(Interaction(title="Alien", id="unknown"))
    assert by_title.item is not None
    assert by_title.method == "exact"
    assert resolver.resolve_interaction(Interaction(id="unknown")).method == "none"
    assert resolver.resolve_interaction(Interaction()).method == "none"


def test_a_text_may_be_an_id_and_titles_come_first(tmp_path: Path) -> None:
    films = [
        ("7", "Casablanca", 1942),
        ("8", "Seven", 1995),
        ("tt0133093", "The Matrix", 1999),
        ("tt0416449", "300", 2006),
        ("300", "Alien", 1979),
        ("B7", "Ran", 1985),
    ]
    with Catalog.open(make(tmp_path / "c.db", films)) as catalog:
        ids = TitleResolver(catalog)

        def found(text: str) -> tuple[str | None, str, float]:
            match = ids.resolve(text)
            return None if match.item is None else match.item.title, match.method, match.confidence

        assert found(" tt0133093") == ("The Matrix", "id", 1.0)
        for text in ("TT0133093", "imdb:tt0133093", "https://www.imdb.com/title/tt0133093/"):
            assert found(text) == ("The Matrix", "id", 0.95)  # and so said by the command line
        assert found("300") == ("300", "exact", 1.0)
        assert found("7") == ("Casablanca", "id", 0.9)  # and not the film that may be written so
        assert found("Seven") == ("Seven", "exact", 1.0)
        assert found("300.0") == ("Alien", "id", 0.95)
        assert found("b7") == ("Ran", "id", 0.95)
        assert found("wikidata: B7")[:2] == ("Ran", "id")
        assert found("tt0000001")[:2] == (None, "none")
        assert found("{tt0133093} or {tt0416449}")[:2] == (None, "ambiguous")
        assert ids.resolve_interaction(Interaction(id="TT0133093")).method == "id"
    with Catalog.open(make(tmp_path / "n.db", [("300", "Alien", 1979)])) as catalog:
        assert TitleResolver(catalog).resolve("300").confidence == 0.9  # said by the command line
        assert TitleResolver(catalog).resolve("300", may_be_id=False).item is None


def test_a_year_beside_the_title_chooses(resolver: TitleResolver) -> None:
    def found(title: str, year: int) -> tuple[str | None, str]:
        match = resolver.resolve_interaction(Interaction(title, year=year))
        return None if match.item is None else match.item.id, match.method

    assert found("Heat", 1986) == ("5", "exact")
    assert found("Heat", 1995)[0] in {"4", "6"}
    assert found("Heat (1995)", 1986) == ("5", "exact")
    assert found("Reckoning, The", 2003) == ("18", "normalised")
    assert found("Matrix", 1998) == ("1", "normalised")
    assert found("Alien", 2020) == (None, "none")
    assert [item.title for item in resolver.resolve("Alien", 2020).candidates][:1] == ["Alien"]


def test_two_years_that_differ_are_said(resolver: TitleResolver) -> None:
    match = resolver.resolve_interaction(Interaction("Heat (1995)", year=1986))
    assert match.item is not None
    assert (match.item.id, match.note) == ("5", "the year given beside it counts, 1986, not 1995")
    assert resolver.resolve_interaction(Interaction("Heat (1995)", year=1995)).note == ""
    assert resolver.resolve_interaction(Interaction("Heat (1995)", id="5", year=1972)).note == ""  # the id says it
    none = resolver.resolve_interaction(Interaction("Heat (1995)", year=1972))
    assert (none.item, none.note) == (None, "the year given beside it counts, 1972, not 1995")
    assert {item.id for item in none.candidates} >= {"4", "5"}


def test_a_changed_catalog_is_read_again(tmp_path: Path) -> None:
    path = make(tmp_path / "c.db", FILMS)
    with Catalog.open(path) as catalog:
        resolver = TitleResolver(catalog)
        assert resolver.resolve("Terminatro Genisys").method == "none"
        add_item(path, "Terminator Genisys", year=2015)
        assert resolver.resolve("Terminatro Genisys").method == "fuzzy"


@pytest.mark.slow
def test_every_film_is_found_by_its_own_title_and_year(films_path: Path) -> None:
    with Catalog.open(films_path) as catalog:
        resolver = TitleResolver(catalog)
        for _, title, year in list(catalog.titles())[::7]:
            match = resolver.resolve(titles.with_year(title, year or 0))
            assert match.item is not None
            assert (match.item.title, match.item.year, match.method) == (title, year, "exact")


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def distorted(title: str, kind: str, rng: random.Random) -> str:
    """One typing error, two of them, two neighbouring letters swapped, or a word left out."""
    if kind == "word left out":
        words = title.split()
        words.pop(rng.randrange(len(words)))
        return " ".join(words)
    letters = list(title)
    for _ in range(2 if kind == "two errors" else 1):
        i = rng.randrange(len(letters))
        error = "swap" if kind == "swap" else rng.choice(["insert", "delete", "swap", "replace"])
        pairs = [j for j in range(len(letters) - 1) if letters[j] != letters[j + 1]]
        if error == "swap" and pairs:
            j = rng.choice(pairs)
            letters[j], letters[j + 1] = letters[j + 1], letters[j]
        elif error == "insert":
            letters.insert(i, rng.choice(LETTERS))
        elif error == "delete" and len(letters) > 1:
            letters.pop(i)
        elif error == "replace":
            letters[i] = rng.choice(LETTERS)
    return "".join(letters)


def loose(title: str) -> str:
    return titles.without_article(titles.key(title))


def measure(films_path: Path, folder: Path, n: int, seed: int) -> dict[str, dict[str, float]]:
    """Resolve n texts of each kind against a catalog without every tenth title.

    A distorted text that is another film's title is left out: it has no right answer. Returns how many
    texts of each kind there were ("n"), how many were accepted, and how many of those were right.
    """
    rng = random.Random(seed)
    known_of, aliases_of = dict[str, object](), dict[str, list[str]]()
    with Catalog.open(films_path) as catalog:
        by_key = defaultdict(list)
        for item in catalog.items([row for row, _, _ in catalog.titles()]):
            by_key[loose(item.title)].append((item.id, item.title, item.year))
            known_of[item.id] = item.columns["known"]
            aliases_of[item.id] = []
        for (row, _), aliases in catalog.list_values([row for row, _, _ in catalog.titles()], ["aliases"]).items():
            aliases_of[catalog.items([row])[0].id] = aliases
    keys = sorted(by_key)
    rng.shuffle(keys)
    n_gone = len(keys) // 10
    gone = [film[1] for key in keys[:n_gone] for film in by_key[key]]
    kept = [film for key in keys[n_gone:] for film in by_key[key]]
    known = set(keys[n_gone:])
    words = sorted({word for _, title, _ in kept for word in title.split()})
    long = [film for film in kept if len(film[1].split()) >= 3]
    pairs = [
        (kind, distorted(title, kind, rng), title)
        for kind in ("one error", "two errors", "swap", "word left out")
        for _, title, _ in rng.sample(long if kind == "word left out" else kept, n)
    ]
    pairs += [("random words", f"{rng.choice(words)} {rng.choice(words)}", "") for _ in range(2 * n)]
    pairs += [("absent title", title, "") for title in rng.sample(gone, min(2 * n, len(gone)))]
    counts: dict[str, dict[str, float]] = {"all": defaultdict(int)}
    columns = {name: [of[i] for i, _, _ in kept] for name, of in (("known", known_of), ("aliases", aliases_of))}
    path = make(folder / "kept.db", kept, **columns)
    with Catalog.open(path) as catalog:
        resolver = TitleResolver(catalog)
        for kind, text, title in pairs:
            if title and loose(text) != loose(title) and loose(text) in known:
                continue
            found = resolver.resolve(text).item
            for group in (counts.setdefault(kind, defaultdict(int)), counts["all"]):
                group["n"] += 1
                group["accepted"] += found is not None
                group["right"] += found is not None and loose(found.title) == loose(title)
    return counts


@pytest.mark.slow
def test_accepted_answers_are_right(films_path: Path, tmp_path: Path) -> None:
    counts = measure(films_path, tmp_path, n=150, seed=3)
    assert counts["all"]["right"] / counts["all"]["accepted"] >= 0.98
    for kind, least in {"one error": 0.65, "two errors": 0.4, "swap": 0.65, "word left out": 0.55}.items():
        assert counts[kind]["right"] / counts[kind]["n"] >= least
        assert counts[kind]["right"] / counts[kind]["accepted"] >= 0.98
    assert counts["absent title"]["accepted"] / counts["absent title"]["n"] <= 0.04
    assert counts["random words"]["accepted"] / counts["random words"]["n"] <= 0.01


def test_the_keys_of_a_catalog_are_read_once_for_all_answers(films_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog.open(films_path) as catalog:
        resolver = TitleResolver(catalog)
        title_keys = catalog.title_keys
        n_reads = 0

        def counted() -> Iterator[tuple[int, str, int | None]]:
            nonlocal n_reads
            n_reads += 1
            return title_keys()

        monkeypatch.setattr(catalog, "title_keys", counted)
        resolver.resolve("Toy Story")
        assert n_reads == 0  # an exact title does not need them
        for text in ["teh matrx", "no such film at all", "sevn samuari", "star wars", "zzz"] * 3:
            resolver.resolve(text)
    assert n_reads == 1


def figures(films_path: Path, folder: Path, n: int = 1500, seed: int = 7) -> list[str]:
    """Return the lines of figures in the docstring of `catalog.resolver`."""
    rows: dict[str, Any] = measure(films_path, folder, n, seed)
    return [
        f"{kind:14} {c['n']:6} {c['accepted'] / c['n']:9.3f} {c['right'] / max(c['accepted'], 1):9.3f}"
        for kind, c in rows.items()
    ]
