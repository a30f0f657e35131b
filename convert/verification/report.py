"""Formats a verification as rows of a table, as sentences, and as `report.json`. `plot.py` draws it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from genrec_edge.storage.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from genrec_edge.convert.verification.results import FileFigures, Verification

SCHEMA = "genrec-edge/conversion-report@1"
COLUMNS = ("type", "size", "bits", "mean KL", "max KL", "top-1", "top-10", "HR@10", "speed")
"""Bits are per weight. Compared with the reference: KL in nats, the share of positions with the same most likely token,
and the share of its ten recommendations that a file gives too. Speed is relative: requests per request of the
reference."""


def write_report(path: Path, verification: Verification, conversion: Mapping[str, object]) -> None:
    """Write the measurements, and the manifest of the conversion, as JSON.

    Raises:
        DiskFullError: the disk is full; `path` is unchanged.
    """
    document = {"schema": SCHEMA, "conversion": dict(conversion), "verification": verification.as_dict()}
    text = json.dumps(document, indent=2, allow_nan=False)  # ASCII: a file name may not be UTF-8
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


def rows(verification: Verification) -> list[tuple[str, ...]]:
    """Return a row of `COLUMNS` for each file, the reference first; "-" stands for a missing value."""
    return [_row(verification, figures) for figures in verification.files]


def findings(verification: Verification) -> Iterator[str]:
    """Yield what is not in the table, in sentences: the comparison with transformers, or why it was skipped."""
    tokenizer, checkpoint = verification.tokenizer, verification.checkpoint
    if tokenizer.status == "skipped":
        yield _skipped("token ids", tokenizer.reason)
    else:
        same = f"{tokenizer.n_titles - tokenizer.n_different} of {tokenizer.n_titles}"
        yield f"Token ids of llama.cpp and of transformers: the same for {same} titles."
    if (agreement := checkpoint.agreement) is None:
        yield _skipped("logits", checkpoint.reason)
    else:
        yield (
            f"Logits of {verification.files[0].file_type} and of transformers in float32: largest difference "
            f"{_number(agreement.max_abs_diff)}, mean KL {_number(agreement.mean_kl)} nats, top-1 agreement "
            f"{percent(agreement.top1)} at {agreement.n_positions:,} positions."
        )
    inexact = [f for f in verification.files if f.exact_share is not None and f.exact_share < 1]
    for figures in inexact:
        yield f"{figures.name}: {percent(figures.exact_share)} of its results are exact."


def megabytes(n_bytes: int) -> str:
    """Return a size in MB of 10^6 bytes, with at least three digits."""
    n_decimals = 2
    if n_bytes >= 1e8:
        n_decimals = 0
    elif n_bytes >= 1e7:
        n_decimals = 1
    return f"{n_bytes / 1e6:,.{n_decimals}f} MB"


def percent(share: float | None) -> str:
    """Return a share in percent, rounded down to one decimal, so that only 1 gives 100.0%; "-" for None."""
    if share is None:
        return "-"
    return f"{round(share * 1e6) // 1000 / 10:.1f}%"


def _row(verification: Verification, figures: FileFigures) -> tuple[str, ...]:
    agreement, ratio = figures.agreement, verification.speed_ratio(figures)
    return (
        figures.file_type,
        megabytes(figures.n_bytes),
        f"{figures.bits_per_weight:.2f}",
        _number(agreement.mean_kl if agreement else None),
        _number(agreement.max_kl if agreement else None),
        percent(agreement.top1 if agreement else None),
        percent(figures.overlap),
        "-" if figures.hits is None else f"{figures.hits.hit_rate:.4f}",
        "-" if ratio is None else f"{ratio:.2f}x",
    )


def _skipped(what: str, reason: str) -> str:
    return f"The {what} could not be compared with transformers: {reason}."


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3f}"
