"""Language models as systems of an evaluation: item indexes in, item indexes out, searched as `recommend` does."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from genrec_edge.coordinates import CatalogRows, ItemIndex
from genrec_edge.datasets.folder import CATALOG
from genrec_edge.decoding.best_first import Budget, ChildPrior
from genrec_edge.decoding.free_text import generate_lines
from genrec_edge.engine.context import EngineUsage
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.conditioning import Conditioning
from genrec_edge.evaluation.ranker import FIT_FIRST, Ranking, align_inputs, allowed_items
from genrec_edge.gguf.adapter import find_adapter
from genrec_edge.serving.config import default_threads
from genrec_edge.serving.score_fusion import FusedScores, learned_on_prior
from genrec_edge.serving.session import Session
from genrec_edge.serving.session_pool import SessionPool, pool_size
from genrec_edge.serving.training_record import training_record_of, training_split_of
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.records import ScoreKind

N_TEXTS = 10
"""Texts of free generation, as many as GenRec takes from its beams."""
_TOKENS_PER_TEXT = 32
_FIRST_NATS = 1e4
"""Added to the score of items that come before all others: more than any title can lose."""
_OF_THIS_MACHINE = ("name", "path", "adapter")


@dataclass(frozen=True, slots=True)
class PriorTerm:
    """What is added to a model's score of an item: `weight` times `log_prob` of the item after the history.

    Attributes:
        name: of what is added, in tables.
        log_prob: from a history to (n_items,), finite, in nats.
        weight: 0.1 adds a tenth. None puts the prior below the logits of a model that was tuned so, and is nothing to
            others.
    """

    name: str
    log_prob: Callable[[NDArray[np.int32]], NDArray[np.float64]]
    weight: float | None


class LlmRanker:
    """A language model, searched as `recommend` does, over the catalog of a data set. Use it in a `with` block.

    Several users are answered at once, see `pool`. A model that is not small has one context.

    Args:
        model_file: the model, resolved.
        dataset: whose items are ranked.
        name: in tables; None takes those of the model, its adapter and its prior.
        adapter: a LoRA adapter in GGUF format, or None.
        score: None takes what the model was tuned for.
        prior: added to the score of each item, or None; free text has none.
        max_history: how many of the latest titles the prompt has; None takes as many as `Session.prompt_ids`.
        fit_first: whether items with the facts that are wanted come before all others, as with a condition.
        decode: "exact", or "free" for texts written line by line and grounded afterwards: a baseline.
        n_threads: of all contexts together; None takes as many as `Session.open` does.
        n_ctx: of each context, as in `Session.open`.
    """

    def __init__(
        self,
        model_file: ModelFile,
        dataset: Dataset,
        *,
        name: str | None = None,
        adapter: Path | None = None,
        score: ScoreKind | None = None,
        prior: PriorTerm | None = None,
        max_history: int | None = None,
        fit_first: bool = False,
        decode: Literal["exact", "free"] = "exact",
        n_threads: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        if max_history is not None and max_history < 1:
            raise UsageError(f"a history of {max_history} titles is none", hint="give --max-history at least 1")
        record = training_record_of(model_file, None if adapter is None else find_adapter(adapter, model_file.header))
        self._learned = learned_on_prior(record)
        self._tuned_on = training_split_of(record)
        if prior is not None and prior.weight is None and self._learned is None:
            prior = None
        if prior is not None and prior.weight is not None and not math.isfinite(prior.weight):
            raise UsageError(f"the prior's weight {prior.weight} is no number", hint="give --prior-weight a finite one")
        ending = FIT_FIRST * fit_first + ", free text" * (decode == "free")
        self.name = name or _name(model_file, adapter, prior) + ending
        self._fit_first = fit_first
        self.is_baseline = decode == "free"
        self._model_file, self._adapter = model_file, adapter
        self._dataset = dataset
        self._prior = prior
        self._max_history = max_history
        self._decode = decode
        n_threads = n_threads or default_threads()
        self._n_contexts = pool_size(model_file.path.stat().st_size, n_threads)
        self._open: Callable[[], Session] = lambda: Session.open(
            model_file,
            dataset.path / CATALOG,
            adapter=adapter,
            score=score,
            prior_kind="none",
            n_threads=n_threads // self._n_contexts,
            n_ctx=n_ctx,
        )
        self.about: Mapping[str, Any] = {}
        self._crew: SessionPool[Session]
        self._item_of_row: dict[CatalogRow, ItemIndex]
        self._item_at: NDArray[np.int32]  # (n_items,) the item at each position of the index

    def __enter__(self) -> Self:
        """Load the model; from now on `about` says all that its answers depend on."""
        with ExitStack() as on_error:
            session = on_error.enter_context(self._open())
            clones = [on_error.enter_context(session.clone()) for _ in range(1, self._n_contexts)]
            on_error.pop_all()
        self._crew = SessionPool([session, *clones])
        manifest, path = self._model_file.manifest, self._model_file.path
        described = session.describe_model()
        self._item_of_row = {row: ItemIndex(item) for item, row in enumerate(self._dataset.rows.tolist())}
        self._item_at = np.array([self._item_of_row[row] for row in session.index.rows.tolist()], np.int32)
        self.about = {
            **{key: value for key, value in described.items() if key not in _OF_THIS_MACHINE},
            "model_sha256": manifest.sha256 if manifest else sha256_file(path),
            "model_bytes": path.stat().st_size,
            "quant": self._model_file.header.quant,
            "adapter_sha256": None if self._adapter is None else sha256_file(self._adapter),
            "catalog_revision": session.index.key.revision,
            "prior": None if self._prior is None else self._prior.name,
            "prior_weight": None if self._prior is None else self._prior.weight,
            "prior_below": self._learned if self._prior is not None and self._prior.weight is None else None,
            "max_history": self._max_history,
            "n_ctx": session.engine.n_ctx,
            "decode": self._decode,
            "fit_first": self._fit_first,
            "tuned_on": self._tuned_on,
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.__exit__(kind, error, trace)

    def rank(
        self,
        history: NDArray[np.int32],
        k: int,
        *,
        candidates: NDArray[np.int32] | None = None,
        told: Conditioning | None = None,
    ) -> Ranking:
        """Return the k best items after a history, or all that are allowed if these are fewer.

        Args:
            history: item indexes, oldest first.
            k: how many; of texts, at most `N_TEXTS` are written.
            candidates: item indexes to rank, the rest left out; None for all.
            told: what of the history is told, and what is said in words; None tells the history.
        """
        pools = None if candidates is None else [candidates]
        (ranked,) = self.rank_many([history], k, candidates=pools, told=None if told is None else [told])
        return ranked

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        told: Sequence[Conditioning] | None = None,
    ) -> Iterator[Ranking]:
        """Yield `rank` of each history, in order."""

        def answer(
            session: Session, task: tuple[NDArray[np.int32], NDArray[np.int32] | None, Conditioning | None]
        ) -> Ranking:
            history, pool, told_of = task
            one = told_of or Conditioning(history, (), (), None)
            allowed = allowed_items(self._dataset.n_items, history, pool)
            if self._decode == "free":
                return self._written(session, history, one, k, allowed)
            return self._searched(session, history, one, k, allowed)

        yield from self._crew.map(answer, align_inputs(histories, candidates, told))

    def _searched(
        self, session: Session, history: NDArray[np.int32], told: Conditioning, k: int, allowed: NDArray[np.bool_]
    ) -> Ranking:
        started = time.perf_counter()
        if not allowed.any():
            return Ranking(np.empty(0, np.int32), np.empty(0), exact=True, gap=0.0, tokens=0, seconds=0.0)
        root_row = self._prompted(session, told)
        bias = np.where(allowed, 0.0, -np.inf)
        if self._fit_first and told.fits is not None:
            bias = bias + np.where(told.fits, _FIRST_NATS, 0.0)
        bias = bias[self._item_at]
        search = session.search(bias, min(k, int(allowed.sum())), self._fused(told.known(history)))
        answer = search.exact(root_row, Budget())
        return Ranking(
            items=self._item_at[[found.position for found in answer.found]],
            scores=np.array([found.score for found in answer.found]),
            exact=answer.exact,
            gap=answer.gap,
            tokens=session.engine.usage.tokens,
            seconds=time.perf_counter() - started,
        )

    def _fused(self, history: NDArray[np.int32]) -> FusedScores | None:
        """Return what the prior adds after a history, by position of the index."""
        if self._prior is None:
            return None
        log_prior = self._prior.log_prob(history)[self._item_at]
        if self._prior.weight is not None:
            return FusedScores(self._prior.weight * log_prior, None, log_prior)
        tau, lambda_ = self._learned or (1.0, 0.0)  # __init__ has seen to it that there are two
        return FusedScores(np.zeros(len(log_prior)), ChildPrior(np.exp(log_prior), tau, lambda_), log_prior)

    def _written(
        self, session: Session, history: NDArray[np.int32], told: Conditioning, k: int, allowed: NDArray[np.bool_]
    ) -> Ranking:
        """Let the model write `N_TEXTS` lines, and keep what is allowed in the order it was written."""
        started = time.perf_counter()
        root_row = self._prompted(session, told)
        engine = session.engine
        n = min(k, N_TEXTS)
        written = generate_lines(engine, root_row, temperature=0, seed=0, max_tokens=n * _TOKENS_PER_TEXT)
        lines = list(itertools.islice(written, n))
        found: list[ItemIndex] = []
        invalid = repeated = 0
        for line in lines:
            match = session.resolve(line.text)
            item = None if match.item is None else self._item_of_row[match.item.row]
            if item in found or item in history:
                repeated += 1
            elif item is None or not allowed[item]:
                invalid += 1
            else:
                found.append(item)
        return Ranking(
            items=np.array(found, np.int32),
            scores=-np.arange(len(found), dtype=np.float64),
            exact=False,
            gap=None,
            tokens=engine.usage.tokens,
            seconds=time.perf_counter() - started,
            texts=len(lines),
            invalid=invalid,
            repeated=repeated,
        )

    def _prompted(self, session: Session, told: Conditioning) -> NDArray[np.float32]:
        """Evaluate the prompt, with each item once, where it was met last, and return its last logits."""
        latest = list(dict.fromkeys(reversed(told.titles.tolist())))[: self._max_history][::-1]
        engine = session.engine
        engine.usage = EngineUsage()
        token_ids, _ = session.prompt_ids(CatalogRows(self._dataset.rows[latest]), told.before, told.after)
        return engine.prompt(token_ids)[0]


def _name(model_file: ModelFile, adapter: Path | None, prior: PriorTerm | None) -> str:
    name = model_file.manifest.name if model_file.manifest else model_file.path.stem
    if adapter is not None:
        name += f" + {adapter.stem}"
    if prior is None:
        return name
    return f"{name} + {prior.name}" if prior.weight is None else f"{name} + {prior.weight:g} {prior.name}"
