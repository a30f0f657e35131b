"""Summaries by models: the texts they read, what passes for a summary, and llama.cpp's own greedy text."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.peer_llama import open_llama
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.coordinates import TokenId
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.llama_engine import LlamaEngine
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.profiles.llm_summarizer import MAX_NEW_TOKENS, ModelSummarizer, is_summary, item_texts
from genrec_edge.profiles.summaries import FactSummarizer, hierarchical, recurrent, update_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
    (golem,) = films.by_ids(["the-golem-how-he-came-into-the-world-1920"]).values()
    assert {"aliases", "known"} <= golem.columns.keys()
    (told,) = item_texts(films, [golem.row])
    assert "; keywords: monster" in told
    assert "Der Golem" not in told
    assert "known" not in told
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


@pytest.mark.slow
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
    for summarise in (recurrent, hierarchical):
        assert summarise(rows, mute) == summarise(rows, facts)
    assert update_parts((), [rows[:5], rows[5:10]], mute, "recurrent", 5)[1] == 2


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
    facts = FactSummarizer(CatalogFacts(films))
    rows = [item.row for title in ("Heat", "Alien", "Fargo", "Vertigo") for item in films.search(title, 1)]
    writer = ModelSummarizer.open(resolve_model(smollm2, ModelStore()), films, facts, n_threads=1)
    with closing(writer):
        token_ids = writer._prompt("What this person chose, the latest last:", item_texts(films, rows))
        assert token_ids is not None
        line = writer._generate_line(token_ids)
        summary = writer.summarize(rows, None)
    theirs: Any = open_llama(smollm2, n_ctx=1024, n_threads=1, flash_attn=False)
    with closing(theirs):
        completion = theirs.create_completion(token_ids, max_tokens=MAX_NEW_TOKENS, temperature=0, stop=["\n"])
    text = completion["choices"][0]["text"].strip()
    assert line
    assert text.startswith(line.strip())
    assert len(line) > 0.7 * len(text)
    if is_summary(line, item_texts(films, rows)):
        assert summary.text == line.strip()
        assert summary.kind.startswith(f"{smollm2.stem}@")
    else:
        assert summary == facts.summarize(rows, None)
