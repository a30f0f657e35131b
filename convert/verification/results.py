"""The results of a verification as records, and the problems among them. Runs nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from genrec_edge.convert.verification.logit_divergence import LogitAgreement
    from genrec_edge.convert.verification.recommendations import HitRate

MIN_TOP1 = 0.995
MAX_FLIPS = 3  # so many positions with another most likely token are accepted among any number of positions
MAX_MEAN_KL = 1e-3
"""Between transformers in float32 and llama.cpp, which rounds activations and its KV cache to F16. For SmolLM2-135M the
rounding gives 4e-6 nats, and another most likely token at 0.2 % of positions; one of a layer's 192 value rows set to
zero gives 2e-3 nats and 2.8 %. The largest difference of a logit is no measure: 0.13 from rounding, 0.0002 with both in
float32."""

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A title with other token ids in llama.cpp (`token_ids`) than in transformers (`expected`)."""

    title: str
    token_ids: tuple[int, ...]
    expected: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenizerCheck:
    """Whether titles have the same token ids as with the Hugging Face tokenizer, and the first few that have not."""

    status: Status
    reason: str = ""
    n_titles: int = 0
    n_different: int = 0
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointCheck:
    """How closely the reference agrees with the merged checkpoint, run by transformers in float32."""

    status: Status
    reason: str = ""
    agreement: LogitAgreement | None = None


@dataclass(frozen=True, slots=True)
class FileFigures:
    """One GGUF compared with the reference.

    Attributes:
        n_bytes: the size of the file.
        bits_per_weight: of the tensor data.
        same_tokenizer: whether it has the tokenizer of the reference; otherwise nothing was compared.
        agreement: of its logits with those of the reference; None for the reference itself.
        overlap: the mean share of the reference's top 10 that is in this file's, 0..1; None for the reference itself.
        exact_share: the share of exact results, 0..1.
        n_short: the number of histories with fewer than 10 recommendations.
        request_s, prompt_tokens_per_s: medians over the histories.
        hits: the hit rate on the test split, if there is one.
        error: why the model could not recommend, or "".
    """

    name: str
    file_type: str
    n_bytes: int
    bits_per_weight: float
    same_tokenizer: bool
    agreement: LogitAgreement | None = None
    overlap: float | None = None
    exact_share: float | None = None
    n_short: int = 0
    request_s: float | None = None
    prompt_tokens_per_s: float | None = None
    hits: HitRate | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All results of a verification. `files` starts with the reference.

    `n_unresolved` titles in the histories of the test split are not in the catalog and were left out.
    """

    catalog: str
    n_items: int
    seed: int
    n_positions: int
    n_histories: int
    n_unresolved: int
    tokenizer: TokenizerCheck
    checkpoint: CheckpointCheck
    files: tuple[FileFigures, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """The errors of the conversion, in sentences; empty when the files can be used."""
        return tuple(_problems(self))

    def speed_ratio(self, figures: FileFigures) -> float | None:
        """Return the speed of a file relative to the reference, or None if one of them was not measured."""
        reference_s = self.files[0].request_s
        return reference_s / figures.request_s if reference_s and figures.request_s else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        files = [{**asdict(figures), "speed_ratio": self.speed_ratio(figures)} for figures in self.files]
        return {**asdict(self), "files": files, "problems": list(self.problems)}


def _problems(verification: Verification) -> Iterator[str]:
    tokenizer, checkpoint = verification.tokenizer, verification.checkpoint.agreement
    reference = verification.files[0]
    if tokenizer.status == "failed":
        yield (
            f"{tokenizer.n_different} of {tokenizer.n_titles} titles have other token ids than with the Hugging Face "
            f"tokenizer: {_listed(tokenizer.mismatches)}"
        )
    if checkpoint is not None and not agrees(checkpoint):
        yield (
            f"{reference.name} does not match the converted checkpoint: {_not_finite(checkpoint)}top-1 agreement "
            f"{_number(checkpoint.top1)} (at least {MIN_TOP1} expected), mean KL {_number(checkpoint.mean_kl)} nats "
            f"(at most {MAX_MEAN_KL} expected), largest difference of a logit {_number(checkpoint.max_abs_diff)}"
        )
    for figures in verification.files:
        if not figures.same_tokenizer:
            yield f"{figures.name} has another tokenizer than {reference.name}"
        if figures.agreement is not None and figures.agreement.n_not_finite:
            yield f"{figures.name}: {_not_finite(figures.agreement).removesuffix(', ')}"
        if figures.error:
            yield f"{figures.name} cannot recommend: {figures.error}"
        if figures.n_short:
            yield (
                f"{figures.name} gives fewer than 10 recommendations for {figures.n_short} of "
                f"{verification.n_histories} histories"
            )


def agrees(agreement: LogitAgreement) -> bool:
    """Return whether two models agree as closely as two implementations of the same weights do."""
    top1, kl = agreement.top1, agreement.mean_kl
    if agreement.n_not_finite or top1 is None or kl is None:
        return False
    n = agreement.n_positions
    return n * (1 - top1) < max(n * (1 - MIN_TOP1), MAX_FLIPS) + 0.5 and kl <= MAX_MEAN_KL


def _not_finite(agreement: LogitAgreement) -> str:
    n = agreement.n_not_finite
    return f"logits are not finite at {n} of {agreement.n_positions} positions, " if n else ""


def _listed(mismatches: Sequence[Mismatch]) -> str:
    return "; ".join(f"{m.title!r} is {list(m.token_ids)} instead of {list(m.expected)}" for m in mismatches)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
