"""A model and a catalog, opened together: prompts, the search, and work that goes on while the catalog changes.

`answer.py`, `judge.py`, `describe.py` and `evaluation.llm_ranker` use it. It never downloads and never prints.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

import numpy as np

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.resolver import TitleResolver
from genrec_edge.catalog.where import ended_by
from genrec_edge.coordinates import CatalogRow, CatalogRows, TokenId, TriePosition
from genrec_edge.decoding import trie_cache
from genrec_edge.decoding.best_first import TrieSearch
from genrec_edge.engine.prompt_cache import MIN_SAVED_TOKENS
from genrec_edge.errors import LockedError, UsageError
from genrec_edge.gguf.header import tokenizer_fingerprint
from genrec_edge.intents.parser import IntentParser
from genrec_edge.option_fields import check_options
from genrec_edge.serving import unconditional
from genrec_edge.serving.config import SessionConfig, default_threads
from genrec_edge.serving.opening import find_model, open_engine
from genrec_edge.serving.prompt_builder import PromptBuilder
from genrec_edge.serving.score_fusion import FusedScores, ScoreFusion
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.decoding.best_titles import ScoredTitle
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.decoding.trie_build import OnTitle
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.options import OpenOptions
    from genrec_edge.records import Match

_ATTEMPTS = 3
"""Answers begun anew because the catalog was changed meanwhile; more means that something changes it all the time."""

_Answer = TypeVar("_Answer")


def _no_title(_done: int, _total: int) -> None:
    """Report no progress."""


class Session:
    """A loaded model and an open catalog with its title index. Open it with `open`.

    What takes no lock is for callers who own their session, such as evaluations.
    """

    def __init__(
        self,
        model_file: ModelFile,
        catalog: Catalog,
        engine: LlamaEngine,
        config: SessionConfig,
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
        self._fingerprint = tokenizer_fingerprint(model_file.header, model_file.path)
        self._lock = threading.Lock()
        self._clones: WeakSet[Session] = WeakSet()
        self._closed = False
        self._alpha = 0.0
        self.trie = self._load_trie(on_title)
        self.prompts = PromptBuilder(engine, config.prompt, config.max_titles, self.title_tokens)
        self._fusion = ScoreFusion(config.prior)
        self._fusion.bind(catalog, self.trie)

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
        on_title = options.on_title or _no_title
        model_file = find_model(options.model)
        config = SessionConfig.of(model_file, options)
        with ExitStack() as on_error:
            catalog = Catalog.open(default_catalog_path() if options.catalog is None else options.catalog)
            on_error.callback(catalog.close)
            engine = open_engine(model_file, config, options)
            on_error.callback(engine.close)
            session = cls(model_file, catalog, engine, config, on_title)
            if options.calibrate:
                session.calibrate(options.calibrate, on_title)
            on_error.pop_all()
        session.load_s = time.perf_counter() - started
        return session

    def clone(self) -> Session:
        """Return a session that answers as this one does, with one thread. It shares the weights: close it before.

        Raises: as `open`.
        """
        with ExitStack() as on_error:
            catalog = Catalog.open(self.catalog.path)
            on_error.callback(catalog.close)
            engine = self.engine.clone()
            on_error.callback(engine.close)
            clone = type(self)(self.model_file, catalog, engine, self.config)
            on_error.pop_all()
        clone._alpha, clone._fusion.unconditional = self._alpha, self._fusion.unconditional  # noqa: SLF001
        self._clones.add(clone)
        return clone

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

    def fused_scores(self, rows: CatalogRows) -> FusedScores:
        """Return what prior and calibration add after a history of catalog rows, oldest first."""
        return self._fusion.after(rows)

    def search(self, bias: NDArray[np.float64], k: int, fused: FusedScores | None = None) -> TrieSearch:
        """Return the search for the k best items under a bias for each position of the trie, -inf to forbid it."""
        return TrieSearch(
            self.trie,
            self.engine,
            end_id=self.engine.model.newline_id,
            kind=self.config.score,
            bias=bias if fused is None else bias + fused.bias,
            k=k,
            prior=None if fused is None else fused.below,
        )

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
        The bias of a recommendation says what was taken off. 0 turns it off.

        Raises:
            UsageError: alpha is out of range.
        """
        if not 0 <= alpha < math.inf:
            raise UsageError(f"`alpha` must be a finite number of at least 0, got {alpha}")
        with self.exclusively():
            self._alpha = alpha
            with self.engine.deadline(None):
                self._load_unconditional(on_title or _no_title)

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
            **self._fusion.describe(),
        }

    def describe_catalog(self) -> dict[str, str | int | float | None]:
        """Return what every result says of the catalog."""
        return {
            "name": self.catalog.name,
            "path": str(self.catalog.path),
            "items": self.trie.n_items,
            "revision": self.trie.key.revision,
        }

    def resolve(self, text: str) -> Match:
        """Return what a title written by a person means in this catalog."""
        self._check_open()
        return self.resolver.resolve(text)

    def forget(self) -> None:
        """Forget earlier prompts: answers are then the same to the last bit, whatever came before them.

        Otherwise what a prompt has in common with the one before is not evaluated again, and sums are added up in
        another order.
        """
        with self.exclusively():
            self.engine.forget()

    def cancel(self) -> None:
        """Interrupt the request that is running, from another thread; it raises CancelledError."""
        for session in (self, *self._clones):
            session.engine.cancel()

    def close(self) -> None:
        """Free the model and close the catalog, after the running request if there is one."""
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
    def exclusively(self) -> Iterator[None]:
        """Hold the session while the block runs, after other callers.

        Raises:
            UsageError: it is closed.
        """
        with self._lock:
            self._check_open()
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this recommender is closed", hint="open another one")

    def on_stable_catalog(self, work: Callable[[], _Answer], timeout_s: float | None = None) -> _Answer:
        """Return what `work` returns while the catalog stays as it is, one caller at a time.

        If the catalog changes meanwhile, the trie follows it and the work is done again.

        Raises:
            UsageError: the session is closed.
            DeadlineError: not finished after `timeout_s`.
            LockedError: the catalog is being changed all the time.
        """
        with self.exclusively(), self.engine.deadline(timeout_s), ended_by(self.engine.raise_if_interrupted):
            for _ in range(_ATTEMPTS):
                self._refresh_trie()
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

    def _refresh_trie(self) -> None:
        if self.trie.key.revision != self.catalog.revision:
            self.trie = self._load_trie()
            self._fusion.bind(self.catalog, self.trie)
            self._load_unconditional()

    def _load_trie(self, on_title: OnTitle = _no_title) -> TitleTrie:
        tokenize = self.engine.model.tokenize
        return trie_cache.load(self.catalog, tokenize, self._fingerprint, on_title, default_threads())

    def _load_unconditional(self, on_title: OnTitle = _no_title) -> None:
        """Have the fusion know what the model thinks of all titles of the index, if there is to be a calibration."""
        self._fusion.unconditional = None
        if not self._alpha:
            return

        def compute() -> NDArray[np.float64]:
            logits = self.engine.prompt(self.prompts.build(CatalogRows(np.empty(0, np.int64)))[0])[0]
            return self.search(np.zeros(self.trie.n_items), self.trie.n_items).score_all(logits, on_title)

        manifest, adapter_path = self.model_file.manifest, self.engine.model.adapter_path
        model = {
            "model": sha256_file(self.model_file.path) if manifest is None else manifest.sha256,
            "adapter": None if adapter_path is None else sha256_file(adapter_path),
            "score": self.config.score,
            "prompt": self.config.prompt,
        }
        folder = trie_cache.index_path(self.catalog, self._fingerprint).parent
        known = unconditional.load(folder, model, self.trie.key.revision, self.trie.n_items, compute)
        self._fusion.unconditional = (self._alpha, known)
