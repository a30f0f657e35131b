"""Free generation: the model writes titles as it likes, one a line, and each is grounded in the catalog afterwards.

This is how GenRec answers (arXiv 2307.00457, section 3.3); here it is the baseline of the exact search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec_edge.coordinates import TokenId
from genrec_edge.engine.kv_tree import ROOT
from genrec_edge.engine.llama_engine import TokenRun
from genrec_edge.engine.numerics import log_softmax
from genrec_edge.records import Recommendation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from genrec_edge.catalog.resolver import TitleResolver
    from genrec_edge.coordinates import CatalogRow
    from genrec_edge.engine.llama_engine import LlamaEngine
    from genrec_edge.options import Request

MAX_LINE_TOKENS = 48
"""A longer line is not a title (the longest of the shipped films has 27 tokens of LLaMA); it is cut, and the next
one begins."""
_TOKENS_PER_ITEM = 32


@dataclass(frozen=True, slots=True)
class GeneratedLine:
    """One line of free text: its text, and its log-probability in nats, end of line included."""

    text: str
    logprob: float


def generate_items(
    engine: LlamaEngine,
    root_row: NDArray[np.float32],
    request: Request,
    resolver: TitleResolver,
    bias_of_row: Mapping[CatalogRow, float],
) -> tuple[tuple[Recommendation, ...], int]:
    """Let the model write titles until k of them are allowed items; return these and how many lines were not.

    Args:
        engine: its prompt evaluated.
        root_row: the logits after the prompt, (n_vocab,).
        request: k, temperature and seed are used.
        resolver: finds the item that a line means.
        bias_of_row: nats for each catalog row, -inf where the item is not allowed.
    """
    found: dict[CatalogRow, Recommendation] = {}
    refused = 0
    max_tokens = min(request.k * _TOKENS_PER_ITEM, engine.n_ctx // 4)
    for line in generate_lines(
        engine, root_row, temperature=request.temperature, seed=request.seed, max_tokens=max_tokens
    ):
        match = resolver.resolve(line.text, may_be_id=False)
        if match.item is None or bias_of_row[match.item.row] == -math.inf:
            refused += 1
        elif match.item.row not in found:
            bias = bias_of_row[match.item.row]
            found[match.item.row] = Recommendation(
                len(found) + 1, match.item, line.logprob + bias, line.logprob, bias, match
            )
        if len(found) == request.k:
            break
    return tuple(found.values()), refused


def generate_lines(
    engine: LlamaEngine, root_row: NDArray[np.float32], *, temperature: float, seed: int, max_tokens: int
) -> Iterator[GeneratedLine]:
    """Yield the lines the model writes after the prompt, until it ends its text or `max_tokens` are spent.

    Temperature 0 takes the likeliest token each time; the log-probability is always that of temperature 1.
    """
    model, rng = engine.model, np.random.default_rng(seed)
    node, row, logprob = ROOT, root_row, 0.0
    line: list[TokenId] = []
    for _ in range(max_tokens):
        token, token_logprob = _sample_token(row, temperature, rng)
        if len(line) == MAX_LINE_TOKENS:
            token, token_logprob = model.newline_id, log_softmax(row)[model.newline_id]
        if model.is_end_of_generation(token):
            return
        logprob += float(token_logprob)
        if token == model.newline_id:
            yield GeneratedLine(model.detokenize(line), logprob)
            line, logprob = [], 0.0
        else:
            line.append(token)
        ((node, view),) = engine.evaluate([TokenRun(node, (token,))])
        row = view.copy()


def _sample_token(row: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> tuple[TokenId, float]:
    logprobs = log_softmax(row)
    if temperature == 0:
        token = int(np.argmax(logprobs))
    else:
        # Gumbel's trick: the largest of the perturbed logits is a sample of their softmax.
        token = int(np.argmax(logprobs / temperature + rng.gumbel(size=len(logprobs))))
    return TokenId(token), float(logprobs[token])
