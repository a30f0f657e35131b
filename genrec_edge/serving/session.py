"""A model and a catalog, opened together: prompts, the search, and work that goes on while the catalog changes.

`answer.py`, `judge.py`, `describe.py` and `evaluation.llm_ranker` use it. It never downloads and never prints.
"""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import ref

import numpy as np

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.catalog.titles import key
from genrec_edge.catalog.where import ended_by
from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId, TriePosition
from genrec_edge.engine.forks import is_forked, refuse_fork
from genrec_edge.engine.interrupt import Call, run_call
from genrec_edge.engine.memory_plan import require_memory
from genrec_edge.engine.prompt_cache import MIN_SAVED_TOKENS
from genrec_edge.engine.run_apart import run_apart
from genrec_edge.errors import LockedError, UsageError
from genrec_edge.gguf.items_met import hash_of
from genrec_edge.intents.parser import IntentParser
from genrec_edge.option_fields import check_options
from genrec_edge.serving.catalog_indexer import CatalogIndexer, search_of
from genrec_edge.serving.config import SessionConfig
from genrec_edge.serving.opening import find_model, open_engine
from genrec_edge.serving.prompt_builder import PromptBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.decoding.best_first import TrieSearch
    from genrec_edge.decoding.best_titles import ScoredTitle
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.decoding.trie_build import OnTitle
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.options import OpenOptions
    from genrec_edge.records import Item, Match
    from genrec_edge.serving.score_fusion import FusedScores

_ATTEMPTS = 3
"""Answers begun anew because the catalog was changed meanwhile; more means that something changes it all the time."""

_Answer = TypeVar("_Answer")


def _no_title(_done: int, _total: int) -> None:
    """Report no progress."""


class Session:
    """A loaded model and an open catalog with its title index. Open it with `open`.

    What takes no lock is for callers who own their session, such as evaluations. A forked process cannot use it.
    """

    def __init__(
        self,
        model_file: ModelFile,
        catalog: Catalog,
        engine: LlamaEngine,
        config: SessionConfig,
        like: Session | None = None,
        on_title: OnTitle = _no_title,
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        self.config = config
        self.load_s = 0.0
        """Seconds that opening took; the first result says so."""
        self.resolver = TitleResolver(catalog)
        self.facts = CatalogFacts(catalog)
        self.intents = IntentParser(self.facts)
        self.model_file = model_file
        self._lock = threading.Lock()
        self._clones: list[ref[Session]] = []
        self._pid = os.getpid()
        self._closed = False
        self._call: Call | None = None
        self._holder: int | None = None
        self.prompts = PromptBuilder(engine, config.prompt, config.max_titles, self.title_tokens)
        if like is None:
            self._indexer = CatalogIndexer(model_file, catalog, engine, config, self.prompts)
            self._indexed = self._indexer.index(None, 0.0, on_title)
        else:
            self._indexer = like._indexer.for_clone(catalog, engine, self.prompts)  # noqa: SLF001
            self._indexed = like._indexed  # noqa: SLF001

    @classmethod
    def open(cls, options: OpenOptions) -> Session:
        """Load a model and a catalog; the catalog's title trie is built first if it is missing or out of date.

        Raises:
            ModelMissingError: the model is not in the store; the hint is the command that brings it.
            ModelInvalidError: the model file is damaged, or was made for other prompts; the adapter does not fit.
            CatalogError: the catalog is damaged, foreign or empty.
            DatasetError: the prior is damaged.
            UsageError: no such file, an option out of range, or no prior for a model that was tuned on one.
        """
        started = time.perf_counter()
        check_options(options)
        # In the caller's thread, where a signal ends it: it may wait for other processes.
        path = Path(default_catalog_path() if options.catalog is None else options.catalog)
        model_file = find_model(options.model)
        config = SessionConfig.of(model_file, options)
        session = run_call(lambda call: cls._open(model_file, config, path, options, call), discard=cls.close)
        session.load_s = time.perf_counter() - started
        return session

    @classmethod
    def _open(
        cls, model_file: ModelFile, config: SessionConfig, catalog_path: Path, options: OpenOptions, call: Call
    ) -> Session:
        on_title = options.on_title or _no_title
        with ExitStack() as on_error:
            catalog = Catalog.open(catalog_path)
            on_error.callback(catalog.close)
            engine = open_engine(model_file, config, options)
            on_error.callback(engine.close)
            with engine.during(call):
                session = cls(model_file, catalog, engine, config, on_title=on_title)
            if config.calibrate:
                session._calibrate(config.calibrate, on_title, call)
            on_error.pop_all()
        return session

    def clone(self) -> Session:
        """Return a session that answers as this one does, with one thread. It shares the weights: close it before.

        It has the index and the calibration that this one has now; as this one does, it follows the catalog.

        Raises: as `open`; and ForkError in a fork of the process that opened this one.
        """
        self._check_open()
        return run_call(lambda _call: self._clone(), discard=type(self).close)

    def _clone(self) -> Session:
        with ExitStack() as on_error:
            catalog = Catalog.open(self.catalog.path)
            on_error.callback(catalog.close)
            require_memory(self.model_file.header, self.engine.n_ctx, is_clone=True)
            engine = self.engine.clone()
            on_error.callback(engine.close)
            clone = type(self)(self.model_file, catalog, engine, self.config, self)
            on_error.pop_all()
        self._clones = [*(known for known in self._clones if known() is not None), ref(clone)]
        return clone

    @property
    def trie(self) -> TitleTrie:
        """The title index of the catalog, as of the request that is running or of the last one."""
        return self._indexed.trie

    def evaluate_prompt(self, token_ids: Sequence[TokenId]) -> tuple[NDArray[np.float32], int]:
        """Make `token_ids` the prompt, as `engine.prompt` does, with the help of the prompts that are kept on disk."""
        engine, cache = self.engine, self.config.prompt_cache
        if cache is None:
            return engine.prompt(token_ids)
        near = cache.nearest(token_ids, more_than=engine.known(token_ids))
        cells = None if near is None or len(near.token_ids) >= engine.n_ctx else cache.read(near)
        is_restored = near is not None and cells is not None and engine.restore(near.token_ids, cells)
        logits, n_reused = engine.prompt(token_ids)
        if near is not None and cells is not None and not (is_restored and np.isfinite(logits).all()):
            cache.discard(near)  # its checksum is right, and its cells are of no prompt of this model
            if is_restored:
                engine.forget()
                logits, n_reused = engine.prompt(token_ids)
        if len(token_ids) - n_reused >= MIN_SAVED_TOKENS:
            cache.keep(token_ids, engine.state())
        return logits, n_reused

    def title_tokens(self, row: CatalogRow) -> list[TokenId]:
        """Return the token ids of the title of a catalog row."""
        (position,) = self.trie.positions(CatalogRows(np.array([row])))
        return self.trie.path(TriePosition(int(position)))

    def fused_scores(self, rows: CatalogRows, *, has_words: bool = False) -> FusedScores:
        """Return what prior and calibration add after a history of catalog rows, oldest first, and words or none."""
        return self._indexed.fusion.after(rows, has_words=has_words)

    def search(self, bias: NDArray[np.float64], k: int, fused: FusedScores | None = None) -> TrieSearch:
        """Return the search for the k best items under a bias for each position of the trie, -inf to forbid it."""
        return search_of(self.trie, self.engine, self.config.score, bias, k, fused)

    def score_rows(
        self,
        rows: CatalogRows,
        logits: NDArray[np.float32],
        bias: NDArray[np.float64],
        fused: FusedScores | None = None,
    ) -> tuple[ScoredTitle, ...]:
        """Return these catalog rows, all of them, as the search scores them if nothing else is allowed.

        Args:
            rows: (n,) catalog rows, each once.
            logits: (n_vocab,) after the prompt that the engine holds.
            bias: (n_items,) nats by position of the trie.
            fused: what prior and calibration add.
        """
        positions = self.trie.positions(rows)
        only = np.full(len(bias), -np.inf)
        only[positions] = bias[positions]
        return self.search(only, len(positions), fused).exact(logits, self.config.budget).found

    def calibrate(self, alpha: float, on_title: OnTitle | None = None) -> None:
        """From now on, take `alpha` times the log-probability of a title after an empty history off its score.

        The first time for a model and a catalog, the model scores all titles: minutes for ten thousands of them.
        The bias of a recommendation says what was taken off. 0 turns it off. Whatever ends it early, what was taken off
        before stays.

        Raises:
            UsageError: alpha is out of range.
            CancelledError: `cancel` was called.
        """
        if not 0 <= alpha < math.inf:
            raise UsageError(f"`alpha` must be a finite number of at least 0, got {alpha}")
        self.run(lambda call: self._calibrate(alpha, on_title or _no_title, call))

    def _calibrate(self, alpha: float, on_title: OnTitle, call: Call) -> None:
        with self.exclusively(call):
            self._indexed = self._indexer.index(self._indexed, alpha, on_title)

    def habits(self) -> NDArray[np.float64] | float:
        """Return what `calibrate` takes off the score of each title, (n_items,) by position of the trie, or 0."""
        unconditional = self._indexed.fusion.unconditional
        return 0.0 if unconditional is None else unconditional[0] * unconditional[1]

    def describe_model(self) -> dict[str, str | int | float | None]:
        """Return what every result says of the model."""
        manifest = self.model_file.manifest
        adapter_path = self.engine.model.adapter_path
        return {
            "name": self.model_file.path.stem if manifest is None else manifest.name,
            "path": str(self.model_file.path),
            "quant": None if manifest is None else manifest.quant,
            "adapter": None if adapter_path is None else str(adapter_path),
            "score": self.config.score,
            "prompt": self.config.prompt,
            **self._indexed.fusion.describe(),
        }

    def describe_catalog(self) -> dict[str, str | int | float | None]:
        """Return what every result says of the catalog."""
        return {
            "name": self.catalog.name,
            "path": str(self.catalog.path),
            "items": self.trie.n_items,
            "revision": self.trie.key.revision,
        }

    def has_met(self, item: Item) -> bool | None:
        """Return whether the model met an item in training, None where its record does not say."""
        met = self.config.items_met
        return None if met is None else hash_of(key(item.title), item.year) in met

    def resolve(self, text: str) -> Match:
        """Return what a title written by a person means in this catalog."""
        self._check_open()
        return self.run(lambda _call: self.resolver.resolve(text))

    def forget(self) -> None:
        """Forget earlier prompts, so that the next one is evaluated whole."""

        def work(call: Call) -> None:
            with self.exclusively(call):
                self.engine.forget()

        self.run(work)

    def cancel(self) -> None:
        """End the request that is running, from another thread; it raises CancelledError."""
        if (call := self._call) is not None:
            self._end(call)

    def _end(self, call: Call) -> None:
        """End a call, and if it is the one that is running, what clones do for it."""
        call.end()
        if self._call is call:
            for clone in tuple(self._clones):
                if (session := clone()) is not None:
                    session.cancel()

    def run(self, work: Callable[[Call], _Answer], timeout_s: float | None = None) -> _Answer:
        """Return what `work` returns of a new call, in order whatever signals come: Ctrl-C ends the call first."""
        call = Call(timeout_s)
        return run_apart(lambda: work(call), lambda: self._end(call))

    def close(self) -> None:
        """Free the model and close the catalog, after the running request if there is one; in a fork, do nothing."""
        if is_forked(self._pid):
            return
        self._refuse_inner_call()
        with self._lock:
            self._closed = True
            self.engine.close()
            self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def exclusively(self, call: Call) -> Iterator[None]:
        """Hold the session while the block runs, after other callers; what is evaluated in it ends with the call.

        Raises:
            UsageError: it is closed.
            ForkError: this process is a fork of the one that opened it.
            DeadlineError, CancelledError: the call was ended while it waited.
        """
        refuse_fork(self._pid, "this recommender")
        self._refuse_inner_call()
        call.wait_for(self._lock)
        try:
            self._holder = threading.get_ident()
            self._check_open()
            self._call = call
            with self.engine.during(call), ended_by(call.check):
                yield
        finally:
            self._call = self._holder = None
            self._lock.release()

    def _refuse_inner_call(self) -> None:
        """Raise UsageError for a call from a callback of the call that this thread is at: it would wait for itself."""
        if self._holder == threading.get_ident():
            raise UsageError(
                "this recommender is used in a callback of its own call", hint="use it after the call has returned"
            )

    def _check_open(self) -> None:
        refuse_fork(self._pid, "this recommender")
        if self._closed:
            raise UsageError("this recommender is closed", hint="open another one")

    def refresh(self) -> None:
        """Let the index follow the catalog, if it was changed. Only for a caller who holds the session."""
        if self.trie.key.revision != self.catalog.revision:
            self._indexed = self._indexer.index(self._indexed, self._indexed.alpha, _no_title)

    def on_stable_catalog(self, work: Callable[[], _Answer], timeout_s: float | None = None) -> _Answer:
        """Return what `work` returns while the catalog stays as it is, one caller at a time.

        If the catalog changes meanwhile, the trie follows it and the work is done again.

        Raises:
            UsageError: the session is closed.
            ForkError: this process is a fork of the one that opened it.
            DeadlineError: not finished after `timeout_s`, in which waiting for other callers counts.
            CancelledError: `cancel` was called.
            LockedError: the catalog is being changed all the time.
        """
        return self.run(lambda call: self._on_stable_catalog(work, call), timeout_s)

    def _on_stable_catalog(self, work: Callable[[], _Answer], call: Call) -> _Answer:
        with self.exclusively(call):
            for _ in range(_ATTEMPTS):
                self.refresh()
                try:
                    answer = work()
                except LookupError:
                    if self.trie.key.revision == self.catalog.revision:
                        raise
                    continue  # an item had gone, or had come too late for the trie
                if self.trie.key.revision == self.catalog.revision:
                    return answer
        raise LockedError(
            f"the catalog {self.catalog.path} was changed during the request, {_ATTEMPTS} times in a row",
            hint="try again when its writer is done",
        )
