"""Whether what was written still is the model that was meant, and what each quantization costs.

Three comparisons: the tokenizer with the Hugging Face one; the logits of the F16 file, called the reference, with those
of the merged checkpoint, and those of every quantization with the reference's; recommendations and speed likewise.
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

    Writes nothing but the title index in the user's cache. One or two models are open at a time, and the logits of one
    prompt are held.

    Args:
        reference: the F16 GGUF.
        files: its quantizations; the reference may be among them.
        checkpoint: Hugging Face folder of the merged model, or None where there is none.
        catalog: whose titles are asked about.
        test: held-out interactions (`samples.read_split`), or None.
        n_threads: of the models.
        seed: of titles, prompts and histories.
        tokenizer: Hugging Face folder with the tokenizer; None takes `checkpoint`.
        n_titles: for the tokenizer.
        n_positions: for the logits.
        n_histories: for the recommendations.
        on_progress: told what is compared, and how much of how much is done.

    Raises:
        ModelInvalidError: a file cannot be run.
        CatalogError, UsageError: the catalog or the test split is not fit for it.
    """
    headers = [read_header(path) for path in dict.fromkeys([reference, *files])]
    for header in headers:
        check_runnable(header)
    with Catalog.open(catalog) as opened:
        histories = samples.draw_histories(opened, n_histories, K, seed)
        split = samples.HeldOutCases() if test is None else samples.read_split(test, opened)
        with closing(Model(reference, vocab_only=True)) as model:
            titles = samples.draw_titles(opened, n_titles, seed)
            tokenizer_check = check_tokenizer(model, tokenizer or checkpoint, titles)
            sequences = samples.draw_sequences(model, opened, n_positions, seed, n_ctx=_context(headers[0]))
        found = Verification(
            catalog=opened.name,
            n_items=opened.n_items,
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
    asked = {path: _answers(path, catalog, histories, split, n_threads, on_progress) for path in comparable}
    return replace(found, files=tuple(_figures(header, reference, agreements, asked) for header in headers))


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


def _answers(
    path: Path,
    catalog: Path,
    histories: Sequence[Sequence[Interaction]],
    split: HeldOutCases,
    n_threads: int,
    on_progress: OnProgress,
) -> ModelRecommendations | EngineError:
    on_answer = partial(on_progress, f"recommendations of {path.name}")
    try:
        return collect_recommendations(path, catalog, histories, split.cases, n_threads=n_threads, on_answer=on_answer)
    except EngineError as e:  # logits that are no numbers; a finding, and the other files have to be asked yet
        return e


def _figures(
    header: GgufHeader,
    reference: Path,
    agreements: Mapping[Path, LogitAgreement],
    asked: Mapping[Path, ModelRecommendations | EngineError],
) -> FileFigures:
    own, first = asked.get(header.path), asked[reference]
    figures = FileFigures(
        name=header.path.name,
        file_type=header.quant,
        n_bytes=header.file_size,
        bits_per_weight=8 * sum(tensor.n_bytes for tensor in header.tensors) / header.n_params,
        same_tokenizer=header.path in asked,
        agreement=agreements.get(header.path),
        error=own.message if isinstance(own, EngineError) else "",
    )
    if not isinstance(own, ModelRecommendations):
        return figures
    return replace(
        figures,
        overlap=overlap(first, own) if isinstance(first, ModelRecommendations) and header.path != reference else None,
        exact_share=own.exact_share,
        n_short=own.n_short,
        request_s=own.request_s,
        prompt_tokens_per_s=own.prompt_tokens_per_s,
        hits=own.hits,
    )


def _context(header: GgufHeader) -> int:
    value = header.metadata[f"{header.architecture}.context_length"]
    return value if isinstance(value, int) else 0  # `check_runnable` has seen that it is one


def _fingerprint(header: GgufHeader) -> str:
    return tokenizer_fingerprint(header, header.path)
