"""Instruction data as text, one JSON object per line, for other trainers and other models.

Every line has instruction, output, cell (such as "P1,I2,T2"), kind, answer, template (its number), user, and source:
whether the words of an intention were made of the "target", which is oracle-like, or of the "history"; "" without an
intention. An instruction that shows nothing of the user can only have an intention made of the target. Titles stand
one per line.
"""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.titles import model_titles
from genrec_edge.convert.training.data.fill_template import fill_template
from genrec_edge.convert.training.data.sequences import PickPiece, TitlesPiece, WordsPiece
from genrec_edge.convert.training.data.templates import TEMPLATES
from genrec_edge.convert.training.data.windows import WindowSampler
from genrec_edge.datasets.folder import CATALOG, FILES
from genrec_edge.datasets.histories import user_histories
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import split_of
from genrec_edge.decoding.prompts import NO, YES
from genrec_edge.errors import UsageError
from genrec_edge.profiles.llm_summarizer import ModelSummarizer
from genrec_edge.profiles.summaries import DEFAULT_BLOCK, FactSummarizer
from genrec_edge.serving.config import default_threads
from genrec_edge.storage.files import atomic_write, require_other_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from genrec_edge.convert.training.data.sequences import Example, Piece
    from genrec_edge.convert.training.data.templates import Template
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.records import Ties, TrainingPart

    Summarize = Callable[[Sequence[int]], str]
    OnInstruction = Callable[[int, int], object]
    """(instructions written, instructions in total)."""

_WINDOW = 36
"""Titles of one window of a history; an instruction shows fewer."""
_MAX_ATTEMPTS = 50
"""Windows tried for one instruction; after that it is left out, as no item seems to have the facts it needs."""


def export_instructions(
    dataset: Dataset,
    path: Path,
    *,
    n: int,
    split: TrainingPart,
    ties: Ties,
    seed: int,
    teacher: ModelFile | None = None,
    on_instruction: OnInstruction = lambda _done, _total: None,
) -> dict[str, int]:
    """Write `n` instructions made of the training part of a data set; see `write_instructions`.

    Args:
        dataset: the data set.
        path: the file to write.
        n: number of instructions.
        split: how the data set is split; "all" uses all events.
        ties: order of equal timestamps.
        seed: seed of all draws.
        teacher: a model that writes the preferences, each about the latest five titles. Without it, and where it
            returns no usable text, preferences are counted from the facts.
        on_instruction: called after each instruction.

    Returns:
        The number of instructions in each cell.

    Raises:
        UsageError: its catalog has no facts.
        ModelInvalidError: llama.cpp cannot load the teacher.
        DiskFullError: there is no space left.
    """
    read = [dataset.path / name for name in FILES]
    require_other_file(path, read if teacher is None else [*read, teacher.path])
    facts = facts_of(dataset)
    if not any(facts):
        message = f"the catalog of {dataset.name} has only titles; instructions need facts such as genres"
        raise UsageError(message, hint="import the data set again with columns such as genres, people or years")
    train = user_histories(dataset, ties) if split == "all" else list(split_of(dataset, split, ties).train)
    windows = WindowSampler([history.astype(np.int64) for history in train], window=_WINDOW, seed=seed)
    titles = model_titles(dataset.titles)
    with _summarizer(teacher, dataset) as summarize:
        item_facts = ItemFacts(facts, train, summarize)
        return write_instructions(path, windows, item_facts, titles, n=n, seed=seed, on_instruction=on_instruction)


@contextmanager
def _summarizer(teacher: ModelFile | None, dataset: Dataset) -> Iterator[Summarize | None]:
    """Yield a function that lets the teacher describe the user's taste from items, oldest first; None without one."""
    if teacher is None:
        yield None
        return
    with Catalog.open(dataset.path / CATALOG) as catalog:
        facts = FactSummarizer(CatalogFacts(catalog))
        model = ModelSummarizer.open(teacher, catalog, facts, n_threads=default_threads())
        with closing(model):
            yield lambda items: model.summarize(dataset.rows[list(items[-DEFAULT_BLOCK:])].tolist(), None).text


def write_instructions(
    path: Path,
    windows: WindowSampler,
    item_facts: ItemFacts,
    titles: Sequence[str],
    *,
    n: int,
    seed: int,
    on_instruction: OnInstruction = lambda _done, _total: None,
) -> dict[str, int]:
    """Write `n` instructions, every template equally often, and return how many there are in each cell.

    Intentions are made in turn of the target and, where the user's history is shown, of the history. The file is
    written as a whole or not at all.
    """
    counts: dict[str, int] = {}
    with atomic_write(path) as file:
        for n_written, instruction in enumerate(_instructions(windows, item_facts, titles, n, seed), start=1):
            file.write(json.dumps(instruction, ensure_ascii=False).encode() + b"\n")
            cell = str(instruction["cell"])
            counts[cell] = counts.get(cell, 0) + 1
            on_instruction(n_written, n)
    return counts


def _instructions(
    windows: WindowSampler, item_facts: ItemFacts, titles: Sequence[str], n: int, seed: int
) -> Iterator[dict[str, str | int]]:
    """Yield what is written, a record per line."""
    for i in range(n):
        number, turn = i % len(TEMPLATES), i // len(TEMPLATES)
        template = TEMPLATES[number]
        intent_from_history = template.allows_history_intent and turn % 2 == 1
        example = _filled(template, windows, item_facts, i, seed, intent_from_history=intent_from_history)
        if example is None:
            continue
        instruction, output = _texts(example.pieces, titles)
        source = ""
        if template.has_query:
            source = "history" if intent_from_history else "target"
        yield {
            "instruction": instruction,
            "output": output,
            "cell": template.cell,
            "kind": template.kind,
            "answer": template.answer,
            "template": number,
            "user": example.user,
            "source": source,
        }


def _filled(
    template: Template, windows: WindowSampler, item_facts: ItemFacts, i: int, seed: int, *, intent_from_history: bool
) -> Example | None:
    """Return instruction `i`: the template filled with the first window that has the facts it needs."""
    for attempt in range(_MAX_ATTEMPTS):
        rng = np.random.default_rng([seed, i, attempt])
        (window,) = windows.sample(i * _MAX_ATTEMPTS + attempt, 1)
        example = fill_template(template, window, item_facts, rng, intent_from_history=intent_from_history)
        if example is not None:
            return example
    return None


def _texts(pieces: Sequence[Piece], titles: Sequence[str]) -> tuple[str, str]:
    """Return the instruction and its answer."""
    start = _answer_start(pieces)
    instruction = [line for piece in pieces[:start] for line in _lines(piece, titles)]
    output = [line for piece in pieces[start:] for line in _lines(piece, titles)]
    first = pieces[start]
    if isinstance(first, WordsPiece):
        instruction.append(first.line.mark)
        output[0] = first.target
    return "\n".join(instruction), "\n".join(output)


def _answer_start(pieces: Sequence[Piece]) -> int:
    """Return the index of the piece that the answer begins with: the first target words, else the last piece."""
    with_target = [i for i, piece in enumerate(pieces) if isinstance(piece, WordsPiece) and piece.target]
    return with_target[0] if with_target else len(pieces) - 1


def _lines(piece: Piece, titles: Sequence[str]) -> list[str]:
    if isinstance(piece, WordsPiece):
        return [piece.line.mark]
    if isinstance(piece, TitlesPiece):
        return [titles[item] for item in piece.items]
    if isinstance(piece, PickPiece):
        return [titles[piece.first if piece.is_first else piece.second]]
    return [(YES if piece.is_positive else NO).strip()]
