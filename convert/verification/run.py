"""Verifies a conversion and measures what each quantization costs.

The F16 file is the reference. Its tokenizer and logits are compared with those of the merged checkpoint in
transformers; logits, recommendations and speed of every quantization are compared with those of the reference.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.verification import samples
from genrec_edge.convert.verification.logit_divergence import compare_logits
from genrec_edge.convert.verification.recommendations import K, ModelRecommendations, collect_recommendations, overlap
from genrec_edge.convert.verification.reference import check_checkpoint, check_tokenizer, open_full_logits
from genrec_edge.convert.verification.results import FileFigures, Verification
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import EngineError
from genrec_edge.gguf.header import read_header, tokenizer_fingerprint
from genrec_edge.gguf.validate import check_runnable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from genrec_edge.convert.verification.logit_divergence import LogitAgreement
    from genrec_edge.convert.verification.samples import HeldOutCases, PromptSequences
    from genrec_edge.gguf.types import GgufHeader
    from genrec_edge.records import Interaction

    OnProgress = Callable[[str, int, int], object]


def verify(
    reference: Path,
    files: Sequence[Path],
    *,
    checkpoint: Path | None,
    catalog: Path,
    test: Path | None,
    n_threads: int,
    seed: int,
    tokenizer: Path | None = None,
    n_titles: int = 500,
    n_positions: int = 2000,
    n_histories: int = 10,
    on_progress: OnProgress = lambda _stage, _done, _total: None,
) -> Verification:
    """Compare GGUF files with the reference, and the reference with the checkpoint it was made from.

    Writes only the title index in the user's cache. At most two models are open at a time, and the logits of one prompt
    are in memory.

    Args:
        reference: the F16 GGUF.
        files: its quantizations; may include the reference.
        checkpoint: Hugging Face folder of the merged model, or None to skip that comparison.
        catalog: the source of titles, prompts and histories.
        test: held-out interactions (`samples.read_split`), or None.
        n_threads: threads of the models.
        seed: seed of the sampled titles, prompts and histories.
        tokenizer: Hugging Face folder with the tokenizer; None means `checkpoint`.
        n_titles: titles for the comparison of tokenizers.
        n_positions: positions for the comparison of logits.
        n_histories: histories for the comparison of recommendations.
        on_progress: called with the name of the comparison, the finished and the total amount.

    Raises:
        ModelInvalidError: a file is not a supported model.
        CatalogError, UsageError: the catalog or the test split cannot be used.
    """
    headers = [read_header(path) for path in dict.fromkeys([reference, *files])]
    for header in headers:
        check_runnable(header)
    with Catalog.open(catalog) as opened_catalog:
        histories = samples.draw_histories(opened_catalog, n_histories, K, seed)
        split = samples.HeldOutCases() if test is None else samples.read_split(test, opened_catalog)
        with closing(Model(reference, vocab_only=True)) as model:
            titles = samples.draw_titles(opened_catalog, n_titles, seed)
            tokenizer_check = check_tokenizer(model, tokenizer or checkpoint, titles)
            sequences = samples.draw_sequences(model, opened_catalog, n_positions, seed, n_ctx=_context(headers[0]))
        verification = Verification(
            catalog=opened_catalog.name,
            n_items=opened_catalog.n_items,
            seed=seed,
            n_positions=n_positions,
            n_histories=n_histories,
            n_unresolved=split.n_unresolved,
            tokenizer=tokenizer_check,
            checkpoint=check_checkpoint(
                headers[0], checkpoint, sequences, n_threads, partial(on_progress, "logits of the checkpoint")
            ),
            files=(),
        )
    comparable = [header.path for header in headers if _fingerprint(header) == _fingerprint(headers[0])]
    agreements = {
        path: _agreement(reference, path, sequences, n_threads, on_progress) for path in comparable if path != reference
    }
    recommendations = {
        path: _recommendations(path, catalog, histories, split, n_threads, on_progress) for path in comparable
    }
    figures = tuple(_figures(header, reference, agreements, recommendations) for header in headers)
    return replace(verification, files=figures)


def _agreement(
    reference: Path, path: Path, sequences: PromptSequences, n_threads: int, on_progress: OnProgress
) -> LogitAgreement:
    with (
        closing(open_full_logits(reference, n_threads)) as expected,
        closing(open_full_logits(path, n_threads)) as found,
    ):
        on_sequence = partial(on_progress, f"logits of {path.name}")
        return compare_logits(
            expected.logits, found.logits, sequences.token_ids, start=sequences.start, on_sequence=on_sequence
        )


def _recommendations(
    path: Path,
    catalog: Path,
    histories: Sequence[Sequence[Interaction]],
    split: HeldOutCases,
    n_threads: int,
    on_progress: OnProgress,
) -> ModelRecommendations | EngineError:
    on_request = partial(on_progress, f"recommendations of {path.name}")
    try:
        return collect_recommendations(
            path, catalog, histories, split.cases, n_threads=n_threads, on_request=on_request
        )
    except EngineError as e:  # logits that are not finite: a result, and the other files are still to be measured
        return e


def _figures(
    header: GgufHeader,
    reference: Path,
    agreements: Mapping[Path, LogitAgreement],
    recommendations: Mapping[Path, ModelRecommendations | EngineError],
) -> FileFigures:
    own, reference_recommendations = recommendations.get(header.path), recommendations[reference]
    figures = FileFigures(
        name=header.path.name,
        file_type=header.quant,
        n_bytes=header.file_size,
        bits_per_weight=8 * sum(tensor.n_bytes for tensor in header.tensors) / header.n_params,
        same_tokenizer=header.path in recommendations,
        agreement=agreements.get(header.path),
        error=own.message if isinstance(own, EngineError) else "",
    )
    if not isinstance(own, ModelRecommendations):
        return figures
    shared = None
    if isinstance(reference_recommendations, ModelRecommendations) and header.path != reference:
        shared = overlap(reference_recommendations, own)
    return replace(
        figures,
        overlap=shared,
        exact_share=own.exact_share,
        n_short=own.n_short,
        request_s=own.request_s,
        prompt_tokens_per_s=own.prompt_tokens_per_s,
        hits=own.hits,
    )


def _context(header: GgufHeader) -> int:
    value = header.metadata[f"{header.architecture}.context_length"]
    return value if isinstance(value, int) else 0  # `check_runnable` has checked that it is one


def _fingerprint(header: GgufHeader) -> str:
    return tokenizer_fingerprint(header, header.path)
