"""Instruction data as text, one JSON object a line: what other trainers of other models read.

Every line has instruction, output, cell (such as "P1,I2,T2"), kind, answer, template (its number), user, and source:
whether words that ask for something were made of the "target", which is oracle-like, or of the "history"; "" where
there are none. Where nothing is told of the user, a search can only be for the target. Titles stand one a line.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import model_titles
from genrec_edge.convert.training.data.fill_template import fill
from genrec_edge.convert.training.data.sequences import PickPiece, TitlesPiece, WordsPiece
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.convert.training.data.windows import WindowSampler
from genrec_edge.datasets.folder import CATALOG, load
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import split_of, user_histories
from genrec_edge.decoding.prompts import NO, YES
from genrec_edge.errors import UsageError
from genrec_edge.profiles.llm_summarizer import ModelSummarizer
from genrec_edge.profiles.summaries import DEFAULT_BLOCK, FactSummarizer
from genrec_edge.serving.config import default_threads
from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from genrec_edge.convert.training.data.sequences import Piece
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.datasets.splits import Ties
    from genrec_edge.hub.store import ModelFile

    OnInstance = Callable[[int, int], object]

_WINDOW = 36
"""Titles of one window of a history; an instruction tells fewer."""
_TRIES = 50
"""Windows that may not do for a template before it is given up: facts that no item has will not come."""


def instruction_data(
    data: str,
    path: Path,
    *,
    n: int,
    split: Literal["leave-one-out", "time", "cold", "all"],
    ties: Ties,
    seed: int,
    teacher: ModelFile | None = None,
    on_instance: OnInstance = lambda _done, _total: None,
) -> dict[str, int]:
    """Write `n` instances out of the training part of a data set's split; see `write_instances`.

    A `teacher` writes the preferences, each of the latest five titles; where it writes nothing of use, and without one,
    they are counted from the facts.

    Raises:
        UsageError: there is no such data set, or its catalog knows nothing of its items but titles.
        DatasetError: it is damaged.
        ModelInvalidError: llama.cpp cannot load the teacher.
        DiskFullError: no room.
    """
    dataset = load(data)
    facts = facts_of(dataset)
    if not any(facts):
        message = f"the catalog of {dataset.name} knows nothing of its items but their titles"
        raise UsageError(message, hint="import it again with columns such as genres, people or years")
    train = user_histories(dataset, ties) if split == "all" else list(split_of(dataset, split, ties).train)
    corpus = WindowSampler([history.astype(np.int64) for history in train], window=_WINDOW, seed=seed)
    titles = model_titles(dataset.titles)
    with ExitStack() as stack:
        writer = None if teacher is None else stack.enter_context(_writer(teacher, dataset))
        item_facts = ItemFacts(facts, train, writer)
        return write_instances(path, corpus, item_facts, titles, n=n, seed=seed, on_instance=on_instance)


@contextmanager
def _writer(teacher: ModelFile, dataset: Dataset) -> Iterator[Callable[[Sequence[int]], str]]:
    """Yield what lets a model say what some items, oldest first, tell of who chose them."""
    with Catalog.open(dataset.path / CATALOG) as catalog:
        facts = FactSummarizer(CatalogFacts(catalog))
        model = ModelSummarizer.open(teacher, catalog, facts, n_threads=default_threads())
        with closing(model):
            yield lambda items: model.summarize(dataset.rows[list(items[-DEFAULT_BLOCK:])].tolist(), None).text


def write_instances(
    path: Path,
    corpus: WindowSampler,
    item_facts: ItemFacts,
    titles: Sequence[str],
    *,
    n: int,
    seed: int,
    on_instance: OnInstance = lambda _done, _total: None,
) -> dict[str, int]:
    """Write `n` instances, every template equally often, and return how many there are of each cell.

    Intentions come in turn from the target and, where it is told, from the history. The file appears whole, or not.
    """
    counts: dict[str, int] = {}
    with atomic_write(path) as file:
        for done, instance in enumerate(_instances(corpus, item_facts, titles, n, seed), start=1):
            file.write(json.dumps(instance, ensure_ascii=False).encode() + b"\n")
            cell = str(instance["cell"])
            counts[cell] = counts.get(cell, 0) + 1
            on_instance(done, n)
    return counts


def _instances(
    corpus: WindowSampler, item_facts: ItemFacts, titles: Sequence[str], n: int, seed: int
) -> Iterator[dict[str, str | int]]:
    for i in range(n):
        number, turn = i % len(TEMPLATES), i // len(TEMPLATES)
        template = TEMPLATES[number]
        honest = template.can_be_honest and turn % 2 == 1
        for attempt in range(_TRIES):
            rng = np.random.default_rng([seed, i, attempt])
            (window,) = corpus.draw(i * _TRIES + attempt, 1)
            example = fill(template, window, item_facts, rng, honest=honest)
            if example is not None:
                break
        else:
            continue
        at = _answer_at(example.pieces)
        said = [*example.pieces[:at]]
        lines = [line for piece in said for line in _lines(piece, titles)]
        output = [line for piece in example.pieces[at:] for line in _lines(piece, titles)]
        first = example.pieces[at]
        if isinstance(first, WordsPiece):
            lines.append(first.line.mark)
            output[0] = first.learned
        yield {
            "instruction": "\n".join(lines),
            "output": "\n".join(output),
            "cell": template.cell,
            "kind": template.kind,
            "answer": template.answer,
            "template": number,
            "user": window.user,
            "source": ("history" if honest else "target") if template.has_query else "",
        }


def _answer_at(pieces: Sequence[Piece]) -> int:
    """Return where the answer begins: at the first words that are learned, else at the last piece."""
    learned = [i for i, piece in enumerate(pieces) if isinstance(piece, WordsPiece) and piece.learned]
    return learned[0] if learned else len(pieces) - 1


def _lines(piece: Piece, titles: Sequence[str]) -> list[str]:
    if isinstance(piece, WordsPiece):
        return [piece.line.mark]
    if isinstance(piece, TitlesPiece):
        return [titles[item] for item in piece.items]
    if isinstance(piece, PickPiece):
        return [titles[piece.first if piece.is_first else piece.second]]
    return [(YES if piece.is_met else NO).strip()]
