"""Recommenders of the tiny model on two catalogs, and what their answers have to be, read off its logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from genrec_edge import Recommender
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.full_logits import FullLogitsModel

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.records import Item, Result

NOISE = 1e-3
"""Nats by which float noise of differently cut batches may move a score: the contract of "exact"."""

TWELVE_TITLES = (
    "Alien",
    "Aliens",
    "Heat",
    "Heat Wave",
    "Up",
    "Jaws",
    "Ran",
    "Fargo",
    "Big",
    "Brazil",
    "Rocky",
    "Rocky II",
)
HISTORY = ("Alien", "Jaws", "Big")

USER_TEXTS: dict[str, Any] = {"preference": "loud ones", "intent": "drama", "context": {"when": "now"}}
"""What a user may say beside the history."""


@pytest.fixture(scope="module")
def items_by_id(tricky_path: Path) -> Mapping[str, Item]:
    """The items of the tricky catalog, by id."""
    with Catalog.open(tricky_path) as opened:
        return {item.id: item for item in opened.items([row for row, _, _ in opened.titles()])}


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the title indexes of this file in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def recommender(tiny_llama: Path, tricky_path: Path, own_cache: None) -> Iterator[Recommender]:
    """A recommender of the tricky catalog by the tiny model, which is asked alone."""
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior_kind="none") as opened:
        yield opened


@pytest.fixture(scope="module")
def twelve_films_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns twelve films of three genres, two decades and a few directors."""
    folder = tmp_path_factory.mktemp("films")
    lines = ["id,title,year,genres,director"]
    for i, title in enumerate(TWELVE_TITLES):
        genres = ("Drama|War", "Comedy", "Horror|Drama")[i % 3]
        lines.append(f"f{i},{title},{1978 + 5 * (i % 4)},{genres},{('Ann Bee', 'Cy Dee')[i % 2]}")
    (folder / "films.csv").write_text("\n".join(lines), encoding="utf-8")
    build(folder / "films.csv", folder / "films.db", lists=("genres", "director"))
    return folder / "films.db"


@pytest.fixture(scope="module")
def twelve_films(tiny_llama: Path, twelve_films_path: Path, own_cache: None) -> Iterator[Recommender]:
    """A recommender of the twelve films by the tiny model, asked alone, which sums over its whole vocabulary."""
    with Recommender.open(tiny_llama, twelve_films_path, n_threads=1, score="vocabulary", prior_kind="none") as opened:
        yield opened


@pytest.fixture(scope="module")
def logits_after(tiny_llama: Path) -> Iterator[Callable[[Sequence[int]], NDArray[np.float64]]]:
    """Returns the logits after each token of a sequence, evaluated on its own."""
    with closing(FullLogitsModel(Model(tiny_llama), n_ctx=1024, n_threads=1)) as forward:
        yield lambda token_ids: forward.logits(token_ids).astype(np.float64)


def ids(result: Result) -> list[str]:
    return [r.item.id for r in result.items]


def scores(result: Result) -> Any:
    return pytest.approx([r.score for r in result.items], abs=NOISE)


def check_answer(result: Result, k: int, items_by_id: Mapping[str, Item]) -> None:
    """Exactly k rows of the catalog, none twice, best first, with probabilities that can be."""
    assert [r.rank for r in result.items] == list(range(1, k + 1))
    assert len(set(ids(result))) == k
    assert all(items_by_id[r.item.id] == r.item for r in result.items)
    assert [r.score for r in result.items] == sorted((r.score for r in result.items), reverse=True)
    assert all(r.score == r.logprob + r.bias for r in result.items)
    probabilities = [math.exp(r.logprob) for r in result.items]
    assert all(0 <= p <= 1 for p in probabilities)
    assert sum(probabilities) <= 1 + NOISE
    assert result.gap is not None
    assert result.exact == (result.gap == 0)
    assert result.gap >= 0


class Hook(Mapping[str, float]):
    """A bias for item 001 that runs a function when it is read: once before a request, once inside it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def __getitem__(self, item_id: str) -> float:
        self._function()
        return 0.0

    def __iter__(self) -> Iterator[str]:
        return iter(["001"])

    def __len__(self) -> int:
        return 1


def user_prompt(
    r: Recommender, history: Sequence[str] = HISTORY, after: Sequence[prompts.Part[CatalogRow]] = (), **texts: Any
) -> list[int]:
    """Return a prompt put together from its texts alone."""
    model = r.session.engine.model
    lines = [f"## Taste: {texts['preference']}"] if "preference" in texts else []
    lines += history
    lines += [f"## Now: {', '.join(texts['context'].values())}"] if "context" in texts else []
    lines += [f"## Wanted: {texts['wanted']}"] if "wanted" in texts else []
    token_ids = [] if model.bos_id is None else [model.bos_id]
    token_ids += model.tokenize(prompts.INSTRUCTION)
    for line in lines:
        mark, colon, rest = line.partition(":") if line.startswith("##") else ("", "", line)
        token_ids += [*model.tokenize(mark + colon), *model.tokenize(rest)] if mark else model.tokenize(line)
        token_ids.append(model.newline_id)
    return [*token_ids, *r.session.prompts.encode(after)]


def log_softmax(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(row - np.logaddexp.reduce(row))


def nats_of(r: Recommender, logits_after: Any, prompt: Sequence[int], title: str) -> float:
    """Return the log-probability of a title and its end after a prompt, read off one evaluation of both."""
    path = [*r.session.engine.model.tokenize(title), r.session.engine.model.newline_id]
    rows = logits_after([*prompt, *path])[len(prompt) - 1 : -1]
    return float(sum(log_softmax(row)[token] for row, token in zip(rows, path, strict=True)))


def row_of(r: Recommender, title: str) -> CatalogRow:
    item = r.resolve(title).item
    assert item is not None
    return item.row
