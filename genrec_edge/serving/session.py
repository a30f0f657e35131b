"""A model and a catalog, opened together: prompts, the search, and work that may go on while the catalog changes.

What is asked of them is known to `recommender.py` and `ranking.py`. It never downloads and never prints.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

import numpy as np

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.coordinates import CatalogRows, TriePosition
from genrec_edge.decoding import prompts, trie_cache
from genrec_edge.decoding.best_first import TrieSearch
from genrec_edge.engine.bindings import Model
from genrec_edge.engine.context import PIECE, LlamaEngine
from genrec_edge.engine.output_head import OutputMatrix
from genrec_edge.engine.prompt_cache import LEAST_TOKENS
from genrec_edge.errors import LockedError, ModelInvalidError, UsageError
from genrec_edge.gguf.header import tokenizer_fingerprint
from genrec_edge.hub.store import ModelFile, ModelStore, resolve_model
from genrec_edge.intents.parser import IntentParser
from genrec_edge.serving import unconditional
from genrec_edge.serving.config import SessionConfig, default_threads
from genrec_edge.serving.score_fusion import FusedScores, ScoreFusion
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow, TokenId
    from genrec_edge.decoding.best_first import Budget
    from genrec_edge.decoding.trie import OnTitle, TitleTrie
    from genrec_edge.records import Match, PriorKind, ScoreKind

DEFAULT_CTX = 2048
_SEARCH_ROOM = 768
"""KV cells kept for the search tree; the median search on 17,472 films needs 300."""
_ATTEMPTS = 3
"""Answers begun anew because the catalog was changed meanwhile; more means that something changes it all the time."""

_Answer = TypeVar("_Answer")


class Session:
    """A loaded model and an open catalog with its title index. Open it with `open`.

    What takes no lock is for callers who own their session, such as evaluations.
    """

    def __init__(
        self,
        model_file: ModelFile,
        catalog: Catalog,
        engine: LlamaEngine,
        settings: SessionConfig,
        on_title: OnTitle = lambda _done, _total: None,
    ) -> None:
        self.catalog = catalog
        self._model_file = model_file
        self._engine = engine
        self.settings = settings
        self._resolver = TitleResolver(catalog)
        self.facts = CatalogFacts(catalog)
        self.intents = IntentParser(self.facts)
        self._fingerprint = tokenizer_fingerprint(model_file.header, model_file.path)
        self._lock = threading.Lock()
        self._clones: WeakSet[Session] = WeakSet()
        self._closed = False
        self._load_s = 0.0
        bos = [] if engine.model.bos_id is None else [engine.model.bos_id]
        layout = prompts.LAYOUTS[settings.prompt]
        self._instruction = bos + engine.model.tokenize(layout.head)
        self._tail = engine.model.tokenize(layout.tail) if layout.tail else []
        self._index = self._load_index(on_title)
        self._alpha = 0.0
        self._fusion = ScoreFusion(settings.prior)
        self._fusion.bind(catalog, self._index)

    @classmethod
    def open(
        cls,
        model: str | Path | ModelFile | None = None,
        catalog: str | Path | None = None,
        *,
        adapter: str | Path | None = None,
        n_threads: int | None = None,
        n_ctx: int | None = None,
        score: ScoreKind | None = None,
        prior: str | Path | None = None,
        prior_kind: PriorKind | None = None,
        prior_weight: float | None = None,
        budget: Budget | None = None,
        prompts_path: Path | None = None,
        on_title: OnTitle = lambda _done, _total: None,
    ) -> Self:
        """Load a model and a catalog; the catalog's title index is built first if it is missing or out of date.

        Args:
            model: a name in the model store, a GGUF file, one of these already resolved, or None for the default model.
            catalog: a catalog file, or None for the films that come with the package.
            adapter: a LoRA adapter in GGUF format, made for this model, or None.
            n_threads: None takes the CPUs this process may use, at most 8.
            n_ctx: KV cells; None takes 2048, or what the model can do if that is less.
            score: None takes what the model was tuned for; see `decoder`.
            prior: a file that `prior build` made, or None; see `fusion` for this and the next two.
            prior_kind: None takes "sequence" where there is a prior.
            prior_weight: nats for each nat of the prior; None takes what the model was tuned for, else 4.
            budget: what an exact search may spend before a beam completes it.
            prompts_path: a folder that keeps evaluated prompts for later processes, or None; of models of the store.
            on_title: told how many titles of how many are indexed, for a progress bar.

        Raises:
            ModelMissingError: the model is not in the store; the hint is the command that brings it.
            ModelInvalidError: the model file is damaged, or was made for other prompts; the adapter does not fit.
            CatalogError: the catalog is damaged, foreign or empty.
            DatasetError: the prior is damaged.
            UsageError: no such file, an option out of range, or no prior for a model that was tuned on one.
        """
        started = time.perf_counter()
        model_file = model if isinstance(model, ModelFile) else resolve_model(model, ModelStore())
        settings = SessionConfig.of(
            model_file,
            adapter=adapter,
            score=score,
            prior=prior,
            prior_kind=prior_kind,
            prior_weight=prior_weight,
            budget=budget,
            prompts_path=prompts_path,
        )
        with ExitStack() as on_error:
            opened = Catalog.open(default_catalog_path() if catalog is None else catalog)
            on_error.callback(opened.close)
            loaded = Model(model_file.path, adapter_path=settings.adapter_path)
            on_error.callback(loaded.close)
            if loaded.n_ctx_train < PIECE:
                raise ModelInvalidError(
                    f"{model_file.path} has a context of {loaded.n_ctx_train} tokens, too small to recommend with",
                    hint=f"use a model with at least {PIECE}",
                )
            ctx = min(DEFAULT_CTX, loaded.n_ctx_train) if n_ctx is None else n_ctx
            engine = LlamaEngine(
                loaded,
                n_ctx=ctx,
                n_threads=default_threads() if n_threads is None else n_threads,
                output_rows=None if settings.adapter_path else OutputMatrix.open(model_file.header, model_file.path),
            )
            on_error.callback(engine.close)
            session = cls(model_file, opened, engine, settings, on_title)
            on_error.pop_all()
        session._load_s = time.perf_counter() - started
        return session

    def clone(self) -> Self:
        """Return a session that answers as this one does, with one thread. It shares the weights: close it before.

        Raises: as `open`.
        """
        with ExitStack() as on_error:
            catalog = Catalog.open(self.catalog.path)
            on_error.callback(catalog.close)
            engine = self._engine.clone()
            on_error.callback(engine.close)
            clone = type(self)(self._model_file, catalog, engine, self.settings)
            on_error.pop_all()
        clone._alpha, clone._fusion.unconditional = self._alpha, self._fusion.unconditional  # noqa: SLF001 - of the same class
        self._clones.add(clone)
        return clone

    @property
    def engine(self) -> LlamaEngine:
        """The engine. This and the next three are for evaluations, which own their recommender: they take no lock."""
        return self._engine

    @property
    def index(self) -> TitleTrie:
        """The title index."""
        return self._index

    def prompt_ids(
        self,
        rows: CatalogRows,
        before: Sequence[prompts.Part[CatalogRow]] = (),
        after: Sequence[prompts.Part[CatalogRow]] = (),
    ) -> tuple[list[TokenId], int]:
        """Return the prompt of a history of catalog rows, oldest first, and how many of the oldest were left out.

        What is said before and after the history is never cut; titles in it are named by their rows. A model that was
        tuned on windows of histories is given no more titles than it has seen at once; see `prompts.n_titles_to_drop`.

        Raises:
            UsageError: it does not fit, or this model's layout knows nothing but histories.
        """
        n_left_out = prompts.n_titles_to_drop(len(rows), self.settings.most_titles)
        n_ctx, model = self._engine.n_ctx, self._engine.model
        prompt, n_unfit = prompts.build_prompt(
            [*self._instruction, *self.encode(before)],
            [self.path_of(row) for row in rows[n_left_out:].tolist()],
            end_id=model.newline_id,
            max_tokens=n_ctx - min(_SEARCH_ROOM, n_ctx // 2),
            tail_ids=[*self.encode(after), *self._tail],
        )
        return prompt, n_left_out + n_unfit

    def prompted(self, token_ids: Sequence[TokenId]) -> tuple[NDArray[np.float32], int]:
        """Make `token_ids` the prompt, as `engine.prompt` does, with the help of the prompts that are kept on disk."""
        engine, kept = self._engine, self.settings.prompt_cache_of_model
        if kept is None:
            return engine.prompt(token_ids)
        near = kept.nearest(token_ids, more_than=engine.known(token_ids))
        if near is not None and (cells := kept.read(near)) is not None:
            engine.restore(near.token_ids, cells)
        row, reused = engine.prompt(token_ids)
        if len(token_ids) - reused >= LEAST_TOKENS:
            kept.keep(token_ids, engine.state())
        return row, reused

    def path_of(self, row: CatalogRow) -> list[TokenId]:
        """Return the token ids of the title of a catalog row."""
        (position,) = self._index.positions(CatalogRows(np.array([row])))
        return self._index.path(TriePosition(int(position)))

    def encode(self, parts: Sequence[prompts.Part[CatalogRow]]) -> list[TokenId]:
        """Return the token ids of parts of a prompt, titles named by their rows.

        Raises:
            UsageError: this model's layout knows nothing but histories.
        """
        if parts and not prompts.LAYOUTS[self.settings.prompt].has_forms:
            message = f"prompts of the layout {self.settings.prompt!r}, which this model was tuned with, hold a history"
            raise UsageError(f"{message} and nothing else", hint="use another model, or leave the words out")
        return prompts.encode(parts, self._engine.model.tokenize, self.path_of, self._engine.model.newline_id)

    def fused(self, rows: CatalogRows) -> FusedScores:
        """Return what prior and calibration add after a history of catalog rows, oldest first."""
        return self._fusion.of(rows)

    def search(self, bias: NDArray[np.float64], k: int, fused: FusedScores | None = None) -> TrieSearch:
        """Return the search for the k best items under a bias for each position of the index, -inf to forbid it."""
        return TrieSearch(
            self._index,
            self._engine,
            end_id=self._engine.model.newline_id,
            kind=self.settings.score,
            bias=bias if fused is None else bias + fused.bias,
            k=k,
            prior=None if fused is None else fused.below,
        )

    def calibrate(self, alpha: float, on_title: OnTitle = lambda _done, _total: None) -> None:
        """From now on, take `alpha` times the log-probability of a title after an empty history off its score.

        The first time for a model and a catalog, the model is asked for all titles: minutes for ten thousands of them.
        The bias of a recommendation says what was taken off. 0 turns it off.

        Raises:
            UsageError: alpha is out of range.
        """
        if not 0 <= alpha < math.inf:
            raise UsageError(f"{alpha} times what is usual is out of range", hint="give 0 or a positive number")
        with self._lock:
            self._check_open()
            self._alpha = alpha
            with self._engine.deadline(None):
                self._load_unconditional(on_title)

    def describe_model(self) -> dict[str, str | int | float | None]:
        """Return what every result says of the model."""
        manifest = self._model_file.manifest
        adapter_path = self._engine.model.adapter_path
        return {
            "name": self._model_file.path.stem if manifest is None else manifest.name,
            "path": str(self._model_file.path),
            "quant": None if manifest is None else manifest.quant,
            "adapter": None if adapter_path is None else str(adapter_path),
            "score": self.settings.score,
            "prompt": self.settings.prompt,
            **self._fusion.describe(),
        }

    def resolve(self, text: str) -> Match:
        """Return what a title written by a person means in this catalog."""
        self._check_open()
        return self._resolver.resolve(text)

    def forget(self) -> None:
        """Forget what was asked before: answers then are the same to the last bit, whoever was asked with them.

        Otherwise what a prompt has in common with the one before is not evaluated again, and sums are added up in
        another order.
        """
        with self._lock:
            self._check_open()
            self._engine.forget()

    def cancel(self) -> None:
        """Interrupt the request that is running, from another thread; it raises CancelledError."""
        for session in (self, *self._clones):
            session.engine.cancel()

    def close(self) -> None:
        """Free the model and close the catalog, after the running request if there is one."""
        with self._lock:
            self._closed = True
            self._engine.close()
            self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this recommender is closed", hint="open another one")

    def _on_stable_catalog(self, work: Callable[[], _Answer], timeout_s: float | None = None) -> _Answer:
        """Return what `work` returns while the catalog stays as it is, one caller at a time.

        Raises:
            UsageError: the session is closed.
            DeadlineError: not finished after `timeout_s`.
            LockedError: the catalog is being changed all the time.
        """
        with self._lock:
            self._check_open()
            with self._engine.deadline(timeout_s):
                for _ in range(_ATTEMPTS):
                    self._refresh_index()
                    try:
                        answer = work()
                    except LookupError:
                        if self._index.key.revision == self.catalog.revision:
                            raise
                        continue  # an item had gone, or had come too late for the index
                    if self._index.key.revision == self.catalog.revision:
                        return answer
        raise LockedError(
            f"the catalog {self.catalog.path} was changed during the request, {_ATTEMPTS} times in a row",
            hint="try again when its writer is done",
        )

    def _refresh_index(self) -> None:
        if self._index.key.revision != self.catalog.revision:
            self._index = self._load_index(lambda _done, _total: None)
            self._fusion.bind(self.catalog, self._index)
            self._load_unconditional()

    def _load_index(self, on_title: OnTitle) -> TitleTrie:
        tokenize = self._engine.model.tokenize
        return trie_cache.load(self.catalog, tokenize, self._fingerprint, on_title, default_threads())

    def _load_unconditional(self, on_title: OnTitle = lambda _done, _total: None) -> None:
        """Have the fusion know what the model thinks of all titles of the index, if there is to be a calibration."""
        self._fusion.unconditional = None
        if not self._alpha:
            return

        def compute() -> NDArray[np.float64]:
            root_row = self._engine.prompt(self.prompt_ids(CatalogRows(np.empty(0, np.int64)))[0])[0]
            return self.search(np.zeros(self._index.n_items), self._index.n_items).score_all(root_row, on_title)

        manifest, adapter_path = self._model_file.manifest, self._engine.model.adapter_path
        model = {
            "model": sha256_file(self._model_file.path) if manifest is None else manifest.sha256,
            "adapter": None if adapter_path is None else sha256_file(adapter_path),
            "score": self.settings.score,
            "prompt": self.settings.prompt,
        }
        folder = trie_cache.index_path(self.catalog, self._fingerprint).parent
        known = unconditional.load(folder, model, self._index.key.revision, self._index.n_items, compute)
        self._fusion.unconditional = (self._alpha, known)
