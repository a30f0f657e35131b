"""Language models as systems of an evaluation: item indexes in, item indexes out, searched as `recommend` does."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from genrec_edge.coordinates import CatalogRows, ItemIndex
from genrec_edge.decoding.best_first import Budget
from genrec_edge.decoding.free_text import generate_lines
from genrec_edge.engine.evaluator import EngineUsage
from genrec_edge.errors import UsageError
from genrec_edge.evaluation.conditioning import Conditioning
from genrec_edge.evaluation.ranker import FIT_FIRST, AskedInput, Ranking, align_inputs, allowed_items
from genrec_edge.gguf.adapter import find_adapter
from genrec_edge.options import OpenOptions
from genrec_edge.serving.config import threads_or_default
from genrec_edge.serving.score_fusion import learned_on_prior, learned_weight
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
    from genrec_edge.evaluation.prior_term import PriorTerm
    from genrec_edge.hub.store import ModelFile
    from genrec_edge.records import ScoreKind
    from genrec_edge.serving.score_fusion import FusedScores

N_TEXTS = 10
"""Texts of free generation, as many as GenRec takes from its beams."""
_TOKENS_PER_TEXT = 32
_FIT_FIRST_NATS = 1e4
"""Added to the score of items that come before all others: more than the difference of any two titles."""
_MACHINE_KEYS = ("name", "path", "adapter")
"""Of the description of a model, what differs between machines."""


class LlmRanker:
    """A language model, searched as `recommend` does, over the catalog of a data set. Use it in a `with` block.

    Small models answer several users at once, see `SessionPool`; larger ones have one context.

    Args:
        model_file: the model, resolved.
        dataset: whose items are ranked.
        name: in tables; None makes one of the model, its adapter and its prior.
        adapter: a LoRA adapter in GGUF format, or None.
        score: None takes the score that the model was tuned for.
        prior: added to the score of each item, or None; free text ignores it.
        calibrate: how much of what a title gets after an empty history is taken off its score; None for what the
            model's record says. Free text ignores it.
        max_history: how many of the latest titles the prompt contains; None for the default of `PromptBuilder.build`.
        fit_first: whether items with the facts of the intent come before all others.
        decode: "exact", or "free" for a baseline of generated texts that are resolved to items afterwards.
        n_threads: of all contexts together; None for the default of `Session.open`.
        n_ctx: of each context, as in `Session.open`.

    Raises:
        UsageError: `max_history`, `n_threads`, `calibrate` or the weight of the prior is out of range.
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
        calibrate: float | None = None,
        max_history: int | None = None,
        fit_first: bool = False,
        decode: Literal["exact", "free"] = "exact",
        n_threads: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        if max_history is not None and max_history < 1:
            raise UsageError(f"`max_history` must be at least 1, got {max_history}")
        record = training_record_of(model_file, None if adapter is None else find_adapter(adapter, model_file.header))
        self._learned = learned_on_prior(record)
        self._tuned_on = training_split_of(record)
        if prior is not None and prior.weight is None:
            if self._learned is None:
                prior = None
            elif self._learned.kind == "mixture":
                prior = replace(prior, weight=learned_weight(record))
        if prior is not None and prior.weight is not None and not 0 <= prior.weight < math.inf:
            raise UsageError(f"`prior_weight` must be finite and at least 0, got {prior.weight}")
        self.name = name or _name(model_file, adapter, prior, calibrate, fit_first=fit_first, decode=decode)
        self._fit_first = fit_first
        self.is_baseline = decode == "free"
        self._model_file, self._adapter = model_file, adapter
        self._dataset = dataset
        self._prior = prior
        self._max_history = max_history
        self._decode = decode
        n_threads = threads_or_default(n_threads)
        self._n_contexts = pool_size(model_file.path.stat().st_size, n_threads)
        self._open: Callable[[], Session] = lambda: Session.open(
            OpenOptions(
                model_file,
                dataset.catalog_path,
                adapter=adapter,
                score=score,
                prior_kind="none",
                calibrate=calibrate if decode == "exact" else 0.0,
                n_threads=n_threads // self._n_contexts,
                n_ctx=n_ctx,
            )
        )
        self.about: Mapping[str, Any] = {}
        self._sessions: SessionPool
        self._item_of_row: dict[CatalogRow, ItemIndex]
        self._item_at: NDArray[np.int32]  # (n_items,) the item at each position of the trie

    def __enter__(self) -> Self:
        """Load the model; from now on `about` holds everything that its answers depend on."""
        with ExitStack() as on_error:
            session = on_error.enter_context(self._open())
            clones = [on_error.enter_context(session.clone()) for _ in range(1, self._n_contexts)]
            on_error.pop_all()
        self._sessions = SessionPool([session, *clones])
        manifest, path = self._model_file.manifest, self._model_file.path
        described = session.describe_model()
        self._item_of_row = {row: ItemIndex(item) for item, row in enumerate(self._dataset.rows.tolist())}
        self._item_at = np.array([self._item_of_row[row] for row in session.trie.rows.tolist()], np.int32)
        self.about = {
            **{key: value for key, value in described.items() if key not in _MACHINE_KEYS},
            "model_sha256": manifest.sha256 if manifest else sha256_file(path),
            "model_bytes": path.stat().st_size,
            "quant": self._model_file.header.quant,
            "adapter_sha256": None if self._adapter is None else sha256_file(self._adapter),
            "catalog_revision": session.trie.key.revision,
            "prior": None if self._prior is None else self._prior.name,
            "prior_weight": None if self._prior is None else self._prior.weight,
            "prior_below": self._below(),
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
        self._sessions.__exit__(kind, error, trace)

    def rank(
        self,
        history: NDArray[np.int32],
        k: int,
        *,
        candidates: NDArray[np.int32] | None = None,
        conditioning: Conditioning | None = None,
        at: float | None = None,
    ) -> Ranking:
        """Return the k best items after a history, or all candidates if these are fewer.

        Args:
            history: item indexes, oldest first.
            k: how many; at most `N_TEXTS` with free text.
            candidates: item indexes to rank; None for all.
            conditioning: what the prompt contains; None for the history.
            at: the time, in seconds, for a prior that depends on it.
        """
        (ranking,) = self.rank_many(
            [history],
            k,
            candidates=None if candidates is None else [candidates],
            conditioning=None if conditioning is None else [conditioning],
            times=None if at is None else [at],
        )
        return ranking

    def rank_many(
        self,
        histories: Sequence[NDArray[np.int32]],
        k: int,
        *,
        candidates: Sequence[NDArray[np.int32]] | None = None,
        conditioning: Sequence[Conditioning] | None = None,
        times: Sequence[float] | None = None,
    ) -> Iterator[Ranking]:
        """Yield `rank` of each history, in order."""

        def answer(session: Session, asked: AskedInput) -> Ranking:
            shown = asked.conditioning or Conditioning(asked.history, (), (), None)
            allowed = allowed_items(self._dataset.n_items, asked.history, asked.candidates)
            if self._decode == "free":
                return self._free_text(session, asked.history, shown, k, allowed)
            return self._search(session, asked, shown, k, allowed)

        yield from self._sessions.map(answer, align_inputs(histories, candidates, conditioning, times))

    def _search(
        self,
        session: Session,
        asked: AskedInput,
        conditioning: Conditioning,
        k: int,
        allowed: NDArray[np.bool_],
    ) -> Ranking:
        started = time.perf_counter()
        if not allowed.any():
            return Ranking(np.empty(0, np.int32), np.empty(0), exact=True, gap=0.0, tokens=0, seconds=0.0)
        logits = self._evaluate_prompt(session, conditioning)
        bias = np.where(allowed, 0.0, -np.inf)
        if self._fit_first and conditioning.matches_intent is not None:
            bias = bias + np.where(conditioning.matches_intent, _FIT_FIRST_NATS, 0.0)
        fused = self._fused_scores(conditioning.visible_history(asked.history), asked.time)
        search = session.search(bias[self._item_at] - session.habits(), min(k, int(allowed.sum())), fused)
        answer = search.exact(logits, Budget())
        return Ranking(
            items=self._item_at[[found.position for found in answer.found]],
            scores=np.array([found.score for found in answer.found]),
            exact=answer.exact,
            gap=answer.gap,
            tokens=session.engine.usage.tokens,
            seconds=time.perf_counter() - started,
        )

    def _fused_scores(self, history: NDArray[np.int32], at: float | None) -> FusedScores | None:
        """Return what the prior adds after what the prompt has of a history, at a time."""
        return None if self._prior is None else self._prior.fused_scores(history, self._item_at, self._learned, at)

    def _below(self) -> list[float] | None:
        """Return tau and lambda of a prior that goes below the logits, None for others."""
        learned = self._learned
        is_below = learned is not None and self._prior is not None and self._prior.is_below(learned)
        return [learned.tau, learned.lambda_] if is_below and learned is not None else None

    def _free_text(
        self,
        session: Session,
        history: NDArray[np.int32],
        conditioning: Conditioning,
        k: int,
        allowed: NDArray[np.bool_],
    ) -> Ranking:
        """Generate up to `N_TEXTS` lines, and rank the candidates among them in the order of generation."""
        started = time.perf_counter()
        logits = self._evaluate_prompt(session, conditioning)
        engine = session.engine
        n = min(k, N_TEXTS)
        generated = generate_lines(engine, logits, temperature=0, seed=0, max_tokens=n * _TOKENS_PER_TEXT)
        lines = list(itertools.islice(generated, n))
        items: list[ItemIndex] = []
        invalid = repeated = 0
        for line in lines:
            match = session.resolver.resolve(line.text, may_be_id=False)
            item = None if match.item is None else self._item_of_row[match.item.row]
            if item in items or item in history:
                repeated += 1
            elif item is None or not allowed[item]:
                invalid += 1
            else:
                items.append(item)
        return Ranking(
            items=np.array(items, np.int32),
            scores=-np.arange(len(items), dtype=np.float64),
            exact=False,
            gap=None,
            tokens=engine.usage.tokens,
            seconds=time.perf_counter() - started,
            texts=len(lines),
            invalid=invalid,
            repeated=repeated,
        )

    def _evaluate_prompt(self, session: Session, conditioning: Conditioning) -> NDArray[np.float32]:
        """Evaluate the prompt, each title once at its latest place, and return the logits after it, (n_vocab,)."""
        titles = _each_once(conditioning.titles)
        latest = titles if self._max_history is None else titles[-self._max_history :]
        engine = session.engine
        engine.usage = EngineUsage()
        rows = CatalogRows(self._dataset.rows[latest])
        token_ids, _ = session.prompts.build(rows, conditioning.before, conditioning.after)
        return engine.prompt(token_ids)[0]


def _each_once(items: NDArray[np.int32]) -> list[int]:
    """Return items, each once, at its latest place."""
    return list(dict.fromkeys(reversed(items.tolist())))[::-1]


def _name(
    model_file: ModelFile,
    adapter: Path | None,
    prior: PriorTerm | None,
    calibrate: float | None,
    *,
    fit_first: bool,
    decode: str,
) -> str:
    name = model_file.manifest.name if model_file.manifest else model_file.path.stem
    if adapter is not None:
        name += f" + {adapter.stem}"
    if prior is not None:
        name += f" + {prior.name}" if prior.weight is None else f" + {prior.weight:g} {prior.name}"
    if calibrate is not None and decode == "exact":
        name += f" - {calibrate:g} habits"
    if fit_first:
        name += FIT_FIRST
    if decode == "free":
        name += ", free text"
    return name
