"""What answers depend on and that follows the catalog: its title index, prior and facts of its items, a calibration."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from genrec_edge.coordinates import CatalogRows
from genrec_edge.decoding import trie_cache
from genrec_edge.decoding.best_first import TrieSearch
from genrec_edge.gguf.header import tokenizer_fingerprint
from genrec_edge.prior import fact_cache, like_cache
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.mixture import COUNTED, OPEN, Mixture
from genrec_edge.serving import unconditional
from genrec_edge.serving.config import default_threads
from genrec_edge.serving.score_fusion import ScoreFusion
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from genrec_edge.catalog.reader import Catalog
    from genrec_edge.decoding.trie import TitleTrie
    from genrec_edge.decoding.trie_build import OnTitle
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.prior.bind import BoundPrior
    from genrec_edge.records import ScoreKind
    from genrec_edge.serving.config import SessionConfig
    from genrec_edge.serving.prompt_builder import PromptBuilder
    from genrec_edge.serving.score_fusion import FusedScores


@dataclass(frozen=True, slots=True, eq=False)
class IndexedCatalog:
    """One state of the catalog. It is made whole and then put in the place of the last, so that no half of it is."""

    trie: TitleTrie
    fusion: ScoreFusion

    @property
    def alpha(self) -> float:
        """How much of the unconditional scores is taken off, 0 for nothing."""
        return 0.0 if self.fusion.unconditional is None else self.fusion.unconditional[0]


class CatalogIndexer:
    """Makes what a session needs of its catalog, again whenever that has changed.

    Args:
        model_file: of the engine's model.
        catalog: open.
        engine: its call (`LlamaEngine.during`) ends the work.
        config: of the session.
        prompts: of the session.

    Raises:
        DatasetError: the prior is damaged.
    """

    def __init__(
        self,
        model_file: ModelFile,
        catalog: Catalog,
        engine: LlamaEngine,
        config: SessionConfig,
        prompts: PromptBuilder,
    ) -> None:
        self._model_file = model_file
        self._catalog = catalog
        self._engine = engine
        self._config = config
        self._prompts = prompts
        self.fingerprint = tokenizer_fingerprint(model_file.header, model_file.path)
        path = None if config.prior is None else config.prior.path
        self._prior = None if path is None else ItemPrior.open(path)
        self._identity: dict[str, str | None] | None = None

    def for_clone(self, catalog: Catalog, engine: LlamaEngine, prompts: PromptBuilder) -> Self:
        """Return one that makes the same for a clone of the session; what was read of files is shared."""
        clone = copy(self)
        clone._catalog, clone._engine, clone._prompts = catalog, engine, prompts  # noqa: SLF001
        return clone

    def index(self, last: IndexedCatalog | None, alpha: float, on_title: OnTitle) -> IndexedCatalog:
        """Return what answers depend on of the catalog as it is now; what of the last one fits is taken over."""
        trie, fusion = (None, None) if last is None else (last.trie, replace(last.fusion, unconditional=None))
        if trie is None or fusion is None or trie.key.revision != self._catalog.revision:
            trie = trie_cache.load(
                self._catalog,
                self._engine.model.tokenize,
                self.fingerprint,
                self._checked(on_title),
                default_threads(),
                on_wait=self._engine.check,
            )
            fusion = ScoreFusion.of(self._config.prior, self._prior, self._catalog, trie, partial(self._mixture, trie))
        if alpha:
            fusion = replace(fusion, unconditional=(alpha, self._unconditional(trie, on_title)))
        return IndexedCatalog(trie, fusion)

    def _mixture(self, trie: TitleTrie, own: BoundPrior | None) -> Mixture:
        """Return what is known of the items without the model."""
        facts = fact_cache.load(self._catalog, trie, self._engine.check)
        likes = like_cache.load(self._catalog, trie, self._engine.check)
        return Mixture(
            trie.n_items,
            OPEN if own is None else COUNTED,
            facts if facts.columns else None,
            likes.liked,
            likes.known,
            None if own is None else own.counts,
            None if own is None else own.recent,
        )

    def _unconditional(self, trie: TitleTrie, on_title: OnTitle) -> NDArray[np.float64]:
        """Return what the model thinks of all titles of an index after an empty history, (n_items,) nats."""

        def compute() -> NDArray[np.float64]:
            logits = self._engine.prompt(self._prompts.build(CatalogRows(np.empty(0, np.int64)))[0])[0]
            unbiased = np.zeros(trie.n_items)
            search = search_of(trie, self._engine, self._config.score, unbiased, trie.n_items)
            return search.score_all(logits, on_title)

        if self._identity is None:
            self._identity = self._model_identity()
        folder = trie_cache.index_path(self._catalog, self.fingerprint).parent
        return unconditional.load(folder, self._identity, trie.key.revision, trie.n_items, compute)

    def _model_identity(self) -> dict[str, str | None]:
        """Return all of the model that its unconditional scores depend on; hashing a large file takes its time."""
        manifest, adapter_path = self._model_file.manifest, self._engine.model.adapter_path

        def sha256(path: Path) -> str:
            return sha256_file(path, lambda _n_bytes: self._engine.check())

        return {
            "model": sha256(self._model_file.path) if manifest is None else manifest.sha256,
            "adapter": None if adapter_path is None else sha256(adapter_path),
            "score": self._config.score,
            "prompt": self._config.prompt,
        }

    def _checked(self, on_title: OnTitle) -> OnTitle:
        """Return a report of progress that also ends the work when its call was ended."""

        def report(done: int, total: int) -> None:
            self._engine.check()
            on_title(done, total)

        return report


def search_of(
    trie: TitleTrie,
    engine: LlamaEngine,
    kind: ScoreKind,
    bias: NDArray[np.float64],
    k: int,
    fused: FusedScores | None = None,
) -> TrieSearch:
    """Return the search of an index for the k best items under a bias for each position, -inf to forbid it."""
    return TrieSearch(
        trie,
        engine,
        end_id=engine.model.newline_id,
        kind=kind,
        bias=bias if fused is None else bias + fused.bias,
        k=k,
        prior=None if fused is None else fused.below,
    )
