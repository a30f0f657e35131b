"""Summaries written by any GGUF: from the texts of items to one line about the user who chose them.

A model that was not tuned to write may write nothing, repeat itself, or copy the prompt. Such a line is not used; the
summary is made of the catalog's facts instead, and says so.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np

from genrec_edge.catalog.facts import may_hold_facts
from genrec_edge.catalog.titles import canonical, clean, with_year
from genrec_edge.coordinates import TokenId
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.context import PIECE
from genrec_edge.engine.interrupt import Call, run_call
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import LlamaEngine, TokenRun
from genrec_edge.engine.memory_plan import require_memory
from genrec_edge.errors import ModelInvalidError
from genrec_edge.gguf.validate import context_length
from genrec_edge.profiles.summaries import HistorySummary
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.profiles.summaries import FactSummarizer

MAX_NEW_TOKENS = 60
_N_CTX = 2048
_MAX_VALUES = 4
"""Values of a list column in the text of an item, the first ones."""
_MAX_VALUE_CHARACTERS = 160
_MAX_ITEM_CHARACTERS = 320
_MIN_ITEM_CHARACTERS = 16
_MIN_DISTINCT_SHARE = 0.5
"""Share of different words below which a line repeats itself."""
_N_GRAM = 3
"""A summary has at least so many words, and is compared with the texts of the prompt by n-grams of so many."""
_MAX_COPIED_SHARE = 0.7
"""Share of a summary's n-grams that may be in the texts of the prompt."""
_WORD = re.compile(r"\w+")

_PREVIOUS_SUMMARY = "One person likes "
_ITEMS_HEADING = "What this person chose, the latest last:"
_PARTS_HEADING = "Notes on what one person likes, the latest last:"
_INSTRUCTION = "In one sentence: this person likes"


class ModelSummarizer:
    """Summaries written by a model with greedy decoding, at most 60 tokens long.

    Args:
        engine: of the model; its prompt is replaced. Not to be used by several threads at once.
        kind: the kind of the summaries that the model writes.
        catalog: the items.
        facts: makes the summary where the model cannot write one.
    """

    def __init__(self, engine: LlamaEngine, kind: str, catalog: Catalog, facts: FactSummarizer) -> None:
        self.kind = kind
        self._engine = engine
        self._catalog = catalog
        self._facts = facts

    @classmethod
    def open(cls, model_file: ModelFile, catalog: Catalog, facts: FactSummarizer, *, n_threads: int) -> Self:
        """Load a model; its name and the start of its hash become the kind of its summaries.

        Raises:
            ModelInvalidError: llama.cpp cannot load it, or its context is too small.
            OutOfMemoryError: it needs more memory than this process may have; nothing was loaded.
        """
        return run_call(lambda _call: cls._open(model_file, catalog, facts, n_threads), discard=cls.close)

    @classmethod
    def _open(cls, model_file: ModelFile, catalog: Catalog, facts: FactSummarizer, n_threads: int) -> Self:
        manifest = model_file.manifest
        name = model_file.path.stem if manifest is None else manifest.name
        sha256 = sha256_file(model_file.path) if manifest is None else manifest.sha256
        n_ctx_train = context_length(model_file.header)
        if n_ctx_train < PIECE:
            message = f"{model_file.path} has a context of {n_ctx_train} tokens; a summary needs {PIECE}"
            raise ModelInvalidError(message, hint="use a model with a larger context")
        n_ctx = min(_N_CTX, n_ctx_train)
        require_memory(model_file.header, n_ctx, n_threads=n_threads)
        with ExitStack() as on_error:
            model = Model(model_file.path)
            on_error.callback(model.close)
            engine = LlamaEngine(model, n_ctx=n_ctx, n_threads=n_threads)
            on_error.pop_all()
        return cls(engine, f"{name}@{sha256[:12]}", catalog, facts)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def summarize(self, rows: Sequence[int], previous: HistorySummary | None) -> HistorySummary:
        """See `Summarizer`."""
        previous_text = "" if previous is None else previous.text
        text = self._write(previous_text, _ITEMS_HEADING, item_texts(self._catalog, rows))
        return self._or_facts(text, self._facts.summarize(rows, previous))

    def merge(self, parts: Sequence[HistorySummary]) -> HistorySummary:
        """See `Summarizer`. The model writes nothing about a single part."""
        if len(parts) == 1:
            return parts[0]
        text = self._write("", _PARTS_HEADING, [part.text for part in parts if part.text])
        return self._or_facts(text, self._facts.merge(parts))

    def _or_facts(self, text: str, of_facts: HistorySummary) -> HistorySummary:
        return HistorySummary(text, self.kind, of_facts.tastes) if text else of_facts

    def _write(self, previous: str, heading: str, texts: Sequence[str]) -> str:
        """Return the summary of texts, or "" if the model writes none or the texts do not fit its context."""
        token_ids = self._prompt(f"{_PREVIOUS_SUMMARY}{previous}\n\n{heading}" if previous else heading, texts)
        if not texts or token_ids is None:
            return ""
        text = clean(self._generate_line(token_ids))
        return text if is_summary(text, [*texts, previous]) else ""

    def _prompt(self, heading: str, texts: Sequence[str]) -> list[TokenId] | None:
        """Return the prompt, all texts cut to one length until it fits; None if that is below 16 characters."""
        model = self._engine.model
        max_characters = _MAX_ITEM_CHARACTERS
        while max_characters >= _MIN_ITEM_CHARACTERS:
            lines = [f"- {text[:max_characters]}" for text in texts]
            token_ids = model.tokenize_start("\n".join([heading, *lines, "", _INSTRUCTION]))
            if len(token_ids) + MAX_NEW_TOKENS < self._engine.n_ctx:
                return token_ids
            max_characters //= 2
        return None

    def _generate_line(self, token_ids: Sequence[TokenId]) -> str:
        """Return the greedy continuation up to the end of its line; without its last word if the line has no end."""

        def work(call: Call) -> str:
            with self._engine.during(call):
                return self._greedy_line(token_ids)

        return run_call(work)

    def _greedy_line(self, token_ids: Sequence[TokenId]) -> str:
        engine, model = self._engine, self._engine.model
        node, row = ROOT, engine.prompt(token_ids)[0]
        written: list[TokenId] = []
        for _ in range(MAX_NEW_TOKENS):
            token = TokenId(int(np.argmax(row)))
            if model.is_end_of_generation(token):
                return model.detokenize(written)
            written.append(token)
            line, end, _ = model.detokenize(written).lstrip().partition("\n")
            if end:
                return line
            ((node, view),) = engine.evaluate([TokenRun(node, (token,))])
            row = view.copy()
        return model.detokenize(written).rpartition(" ")[0]


def item_texts(catalog: Catalog, rows: Sequence[int]) -> list[str]:
    """Return items, by their rows, as a model reads them: "Title (year); column: value; ...", long values cut.

    Other titles and how well known an item is are left out.

    Raises:
        KeyError: there is no such row.
    """
    names = [name for name in catalog.item_columns if may_hold_facts(name)]
    lists = catalog.list_values(sorted(set(rows)), [name for name in names if name in catalog.list_columns])
    texts = []
    for item in catalog.items(rows):
        title = canonical(item.title)
        parts = [title if item.year is None else with_year(title, item.year)]
        for name in names:
            values = lists.get((item.row, name), [])[:_MAX_VALUES]
            if name not in catalog.list_columns and item.columns[name] is not None:
                values = [str(item.columns[name])[:_MAX_VALUE_CHARACTERS]]
            if values:
                parts.append(f"{name}: {clean(', '.join(values))}")
        texts.append("; ".join(parts)[:_MAX_ITEM_CHARACTERS])
    return texts


def is_summary(text: str, sources: Sequence[str]) -> bool:
    """Whether a line is a summary of texts: at least three words, half of them different, and not copied.

    >>> is_summary("quiet dramas and old westerns", ["The Piano; genres: Drama", "Rio Bravo; genres: Western"])
    True
    >>> is_summary("the best, the best, the best, the best", [])
    False
    >>> is_summary("Rio Bravo (1959); genres: Western", ["Rio Bravo (1959); genres: Western, Action"])
    False
    """
    words = _words(text)
    if len(words) < _N_GRAM or len(set(words)) < _MIN_DISTINCT_SHARE * len(words):
        return False
    source_n_grams = {n_gram for source in sources for n_gram in _n_grams(_words(source))}
    n_grams = _n_grams(words)
    n_copied = sum(n_gram in source_n_grams for n_gram in n_grams)
    return n_copied <= _MAX_COPIED_SHARE * len(n_grams)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _n_grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + _N_GRAM]) for i in range(len(words) - _N_GRAM + 1)]
