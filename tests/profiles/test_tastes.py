"""Summaries of histories: by counting, against fractions and by hand; by models, against llama.cpp's greedy text."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import TokenId
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.context import LlamaEngine
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.profiles import tastes as tastes_module
from genrec_edge.profiles.llm_summarizer import MAX_NEW_TOKENS, ModelSummarizer, is_summary, item_texts
from genrec_edge.profiles.summaries import FactSummarizer, HistorySummary, advanced, hierarchical, recurrent
from genrec_edge.profiles.tastes import Tastes, dumped, loaded, profile_text
from genrec_edge.records import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

# ---- by counting

ITEMS = [
    "genres:Drama decade:1980s director:Lee country:France language:French",
    "genres:Comedy genres:Drama decade:1990s cast:Tom country:France",
    "genres:Comedy decade:1990s cast:Tom cast:Amy country:USA",
    "genres:Thriller decade:1990s director:Lee country:USA",
]
HISTORY = [[Fact(*word.split(":")) for word in item.split()] for item in ITEMS]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        # Weights, the newest item 1: 1, 0.97, 0.9409, 0.9127, 3.8236 in all. Comedy 1.9109, Drama 1.8536, Thriller 1;
        # Lee 1.9127 and Tom 1.9109 of two items each, half of the weight; France 1.8536, 0.485 of it.
        ({}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; USA, France"),
        ({"USA": 0.4}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; France"),  # usual anyway
        ({"USA": 0.27, "France": 0.25}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom"),  # not twice as often
        ({"France": 0.2, "USA": 0.25}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee, Tom; France, USA"),
        ({"Tom": 0.3}, "Comedy, Drama, Thriller; 1990s, 1980s; Lee; USA, France"),
    ],
)
def test_a_line_computed_by_hand(shares: dict[str, float], expected: str) -> None:
    assert profile_text(HISTORY, lambda fact: shares.get(fact.value, 0.1)) == expected


def test_nothing_is_said_of_nothing() -> None:
    assert profile_text([], lambda _: 0.5) == ""
    assert profile_text([[], []], lambda _: 0.5) == ""
    assert profile_text([[Fact("cast", "Tom")]], lambda _: 0.5) == ""  # once is no taste


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


def drawn(rng: np.random.Generator, n: int) -> list[list[Fact]]:
    columns = [("genres", 6), ("decade", 5), ("director", 12), ("cast", 30), ("country", 4), ("language", 4)]
    return [
        [Fact(c, f"{c} {v}") for c, size in columns for v in set(rng.integers(0, size, rng.integers(0, 4)).tolist())]
        for _ in range(n)
    ]


def test_lines_of_random_histories_are_those_of_exact_fractions() -> None:
    rng = np.random.default_rng(3)
    lines = set()
    for n in [*range(1, 30), 60, 100]:
        history = drawn(rng, n)
        shares: dict[Fact, float] = {}

        def share(fact: Fact, shares: dict[Fact, float] = shares) -> float:
            return shares.setdefault(fact, round(float(rng.uniform(0.01, 0.4)), 6))

        lines.add(profile_text(history, share))
        assert profile_text(history, share) == by_fractions(history, share)
    assert len(lines) == 31


def test_parts_of_a_history_make_the_tastes_of_the_whole() -> None:
    history = drawn(np.random.default_rng(4), 40)
    whole = Tastes()
    whole.add(history)
    grown, first, second = Tastes(), Tastes(), Tastes()
    for start in range(0, 40, 5):
        grown.add(history[start : start + 5])
    first.add(history[:13])
    second.add(history[13:])
    for other in (grown, first.then(second), loaded(dumped(whole))):
        assert other.counts == whole.counts
        assert other.weights == pytest.approx(whole.weights)
        assert other.n_items == 40
        assert other.total == pytest.approx(whole.total)
        assert other.text(lambda _: 0.05) == whole.text(lambda _: 0.05)


def test_tastes_stay_small_and_keep_what_comes_again() -> None:
    tastes = Tastes()
    for i in range(2000):
        tastes.add([[Fact("cast", f"once {i} {j}") for j in range(10)] + [Fact("cast", f"often {i % 20}")]])
    assert len(tastes.weights) == len(tastes.counts) == tastes_module._MAX_FACTS
    assert sum(fact.value.startswith("often") for fact in tastes.weights) == 20
    assert len(dumped(tastes)) < 60_000


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"facts": [[1, 2]], "total": 1, "items": 1}', "[" * 10_000])
def test_what_is_no_tastes_is_told(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        loaded(text)


# ---- block by block


class Scripted:
    """Writes down what it is asked; its summaries name the rows they are of."""

    kind = "scripted"

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], str | None]] = []
        self.merged: list[list[str]] = []

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        self.asked.append((list(rows), None if previous is None else previous.text))
        text = "".join(f"{row} " for row in rows)
        return HistorySummary((previous.text if previous else "") + text, self.kind, Tastes())

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        self.merged.append([part.text for part in parts])
        return (
            parts[0] if len(parts) == 1 else HistorySummary("|".join(part.text for part in parts), self.kind, Tastes())
        )


def test_recurrent_is_a_fold_over_blocks() -> None:
    scripted = Scripted()
    found = recurrent(range(12), scripted)
    assert scripted.asked == [
        ([0, 1, 2, 3, 4], None),
        ([5, 6, 7, 8, 9], "0 1 2 3 4 "),
        ([10, 11], "0 1 2 3 4 5 6 7 8 9 "),
    ]
    assert found is not None
    assert found.text == "0 1 2 3 4 5 6 7 8 9 10 11 "
    assert recurrent([12], scripted, previous=found) is not None
    assert scripted.asked[-1] == ([12], found.text)
    assert recurrent([], scripted) is None


def test_hierarchical_summarises_the_latest_blocks_alone_and_merges_once() -> None:
    scripted = Scripted()
    found = hierarchical(range(60), scripted, block=4, blocks=3)
    assert [rows for rows, _ in scripted.asked] == [[48, 49, 50, 51], [52, 53, 54, 55], [56, 57, 58, 59]]
    assert {previous for _, previous in scripted.asked} == {None}
    assert len(scripted.merged) == 1
    assert found is not None
    assert found.text == "48 49 50 51 |52 53 54 55 |56 57 58 59 "
    assert hierarchical([], scripted) is None


def test_going_on_needs_the_parts_and_the_new_blocks_alone() -> None:
    scripted = Scripted()
    blocks = [[0, 1], [2, 3], [4, 5], [6, 7]]
    parts, _ = advanced((), blocks[:3], scripted, "hierarchical", 2)
    assert [part.text for part in parts] == ["2 3 ", "4 5 "]
    parts, _ = advanced(parts, blocks[3:], scripted, "hierarchical", 2)
    assert [part.text for part in parts] == ["4 5 ", "6 7 "]
    assert [rows for rows, _ in scripted.asked] == blocks  # each once
    (one,), n_unwritten = advanced(parts, [[8]], scripted, "recurrent", 2)
    assert (one.text, n_unwritten) == ("4 5 |6 7 8 ", 0)


@pytest.fixture(scope="module")
def films(films_path: Path) -> Iterator[Catalog]:
    with Catalog.open(films_path) as catalog:
        yield catalog


def test_facts_of_blocks_are_those_of_the_history(films: Catalog) -> None:
    book = CatalogFacts(films)
    rows = np.random.default_rng(0).integers(1, films.n_items, 24).tolist()
    for n in (1, 5, 13, 24):
        expected = profile_text(book.of(rows[:n]), book.share)
        for made in (recurrent, hierarchical):
            found = made(rows[:n], FactSummarizer(book))
            assert found is not None
            assert (found.text, found.kind) == (expected, "facts")
    assert expected


def test_a_summary_is_not_changed_by_what_follows_it(films: Catalog) -> None:
    facts = FactSummarizer(CatalogFacts(films))
    first = facts.summarize([1, 2, 3], None)
    before = dumped(first.tastes)
    facts.summarize([4, 5, 6], first)
    facts.merge([first, facts.summarize([7], None)])
    assert dumped(first.tastes) == before


# ---- what a model reads


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Books with lists, a long text, control tokens and empty cells."""
    folder = tmp_path_factory.mktemp("shelf")
    lines = ["id,title,year,genres,people,about"]
    lines += [
        '1,"Matrix, The",1999,Action|Drama,"P|Q|R|S|T|U","' + "long text " * 50 + '"',
        "2,<|end|> of <|im_end|>,,Drama|War,P,",
        *(f"{i},Title {i},{1980 + i},Drama,P|Q," for i in range(3, 20)),
    ]
    (folder / "books.csv").write_text("\n".join(lines), encoding="utf-8")
    build(folder / "books.csv", folder / "books.db", lists=["genres:|", "people:|"])
    with Catalog.open(folder / "books.db") as catalog:
        yield catalog


def test_the_text_of_an_item(shelf: Catalog, films: Catalog) -> None:
    matrix, end, third = item_texts(shelf, [1, 2, 3])
    assert matrix.startswith("The Matrix (1999); genres: Action, Drama; people: P, Q, R, S; about: long text long text")
    assert len(matrix) < 260
    assert end == "<|end|> of <|im_end|>; genres: Drama, War; people: P"
    assert third == "Title 3 (1983); genres: Drama; people: P, Q"
    (film,) = item_texts(films, [1])
    assert film.startswith("A Day in the Country (1946); genres: Romance, Drama; director: Jean Renoir; cast: ")
    assert item_texts(shelf, []) == []
    assert item_texts(shelf, [3, 2, 3]) == [third, end, third]


@pytest.mark.parametrize(
    ("text", "given", "passes"),
    [
        ("quiet dramas and old westerns", ["The Piano; genres: Drama", "Rio Bravo; genres: Western"], True),
        ("comedy, drama", [], False),
        ("", [], False),
        ("... --- !!!", [], False),
        ("the best, the best, the best, the best", [], False),
        ("Rio Bravo (1959); genres: Western", ["Rio Bravo (1959); genres: Western, Action"], False),
        ("Dramas with a Past", ["dramas with a past"], False),
        ("東京 の 静かな 映画", [], True),
    ],
)
def test_what_passes_for_a_summary(text: str, given: list[str], passes: bool) -> None:
    assert is_summary(text, given) is passes


# ---- models that cannot write


@pytest.fixture
def writer(shelf: Catalog) -> Iterator[Callable[..., ModelSummarizer]]:
    """Returns a function that lets a model write about the books; engines are closed at the end."""
    engines: list[LlamaEngine] = []

    def make(path: Path, n_ctx: int = 1024) -> ModelSummarizer:
        engines.append(LlamaEngine(Model(path), n_ctx=n_ctx, n_threads=1))
        return ModelSummarizer(engines[-1], "mute", shelf, FactSummarizer(CatalogFacts(shelf)))

    yield make
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    "next_of",
    [
        {"s": {"<|end|>": 1.0}},  # nothing
        {"s": {"\n": 1.0}, "\n": {"\n": 1.0}},  # empty lines
        {"s": {" ": 1.0}, " ": {"a": 1.0}, "a": {" ": 1.0}},  # the same word for ever
        {"s": {"s": 1.0}},  # one word for ever
    ],
    ids=["nothing", "empty lines", "circles", "one word"],
)
def test_facts_stand_in_for_a_model_that_cannot_write(
    next_of: dict[str, dict[str, float]],
    bigram_llama: Callable[..., Path],
    writer: Callable[..., ModelSummarizer],
    shelf: Catalog,
    tmp_path: Path,
) -> None:
    mute = writer(bigram_llama(tmp_path / "mute.gguf", next_of))
    facts = FactSummarizer(CatalogFacts(shelf))
    rows = list(range(1, 13))
    for made in (recurrent, hierarchical):
        assert made(rows, mute) == made(rows, facts)
    assert advanced((), [rows[:5], rows[5:10]], mute, "recurrent", 5)[1] == 2


def test_a_model_that_writes_is_named_and_what_it_wrote_is_given_to_it_again(
    bigram_llama: Callable[..., Path], writer: Callable[..., ModelSummarizer], tmp_path: Path
) -> None:
    line = " tiny-uv.wb"  # a character has one follower: none may come twice; the prompt ends with an s
    able = writer(bigram_llama(tmp_path / "able.gguf", {a: {b: 1.0} for a, b in pairwise(f"s{line}\n")}))
    first = able.summarize([3, 4], None)
    assert (first.text, first.kind) == ("tiny-uv.wb", "mute")
    assert [part.kind for part in (able.summarize([5], first), able.merge([first, first]))] == ["facts", "facts"]
    assert able.merge([first]) is first  # nothing to write


def test_control_tokens_in_titles_stay_text_and_long_texts_are_cut_to_fit(
    tiny_llama: Path, writer: Callable[..., ModelSummarizer], shelf: Catalog
) -> None:
    model = Model(tiny_llama)
    with closing(model):
        (end_id,) = [i for i in map(TokenId, range(model.n_vocab)) if model.is_end_of_generation(i)]
    for n_ctx in (512, 1024, 2048):
        small = writer(tiny_llama, n_ctx)
        token_ids = small._prompt("What:", item_texts(shelf, [1, 2, 1, 3]))
        assert token_ids is not None
        assert len(token_ids) + MAX_NEW_TOKENS < n_ctx
        assert end_id not in token_ids
        assert "- <|end|> of <|im" in small._engine.model.detokenize(token_ids)
    small = writer(tiny_llama, 256)
    many = list(range(1, 20))
    assert small._prompt("What:", item_texts(shelf, many)) is None
    assert small.summarize(many, None).kind == "facts"


# ---- a model that can


@pytest.mark.model
def test_the_real_model_writes_what_llama_cpp_writes(smollm2: Path, films: Catalog) -> None:
    import llama_cpp

    facts = FactSummarizer(CatalogFacts(films))
    rows = [item.row for title in ("Heat", "Alien", "Fargo", "Vertigo") for item in films.search(title, 1)]
    writer = ModelSummarizer.open(resolve_model(smollm2, ModelStore()), films, facts, n_threads=1)
    with closing(writer):
        token_ids = writer._prompt("What this person chose, the latest last:", item_texts(films, rows))
        assert token_ids is not None
        line = writer._continued(token_ids)
        summary = writer.summarize(rows, None)
    theirs: Any = llama_cpp.Llama(str(smollm2), n_ctx=1024, n_threads=1, flash_attn=False, verbose=False)
    with closing(theirs):
        told = theirs.create_completion(token_ids, max_tokens=MAX_NEW_TOKENS, temperature=0, stop=["\n"])
    text = told["choices"][0]["text"].strip()
    assert line
    assert text.startswith(line.strip())
    assert len(line) > 0.7 * len(text)
    if is_summary(line, item_texts(films, rows)):
        assert summary.text == line.strip()
        assert summary.kind.startswith(f"{smollm2.stem}@")
    else:
        assert summary == facts.summarize(rows, None)
