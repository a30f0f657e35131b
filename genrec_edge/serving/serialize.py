"""How the parts of a result are said in JSON, by `recommend --json` and in the rows of a job alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genrec_edge.records import Item, Match, Recommendation


def item_json(r: Recommendation) -> dict[str, object]:
    """Return an item of an answer, without catalog columns and fields that the request did not need."""
    entry: dict[str, object] = {
        "rank": r.rank,
        **_named(r.item),
        "score": r.score,
        "logprob": r.logprob,
        "bias": r.bias,
    }
    if r.prior is not None:
        entry["prior"] = r.prior
    if r.met is not None:
        entry["met"] = r.met
    if r.parts:
        entry["parts"] = dict(r.parts)
    if r.fits is not None:
        entry["fits"] = r.fits
    if r.reasons:
        entry["reasons"] = [{**_named(reason.item), "nats": reason.nats} for reason in r.reasons]
    if r.grounding is not None:
        g = r.grounding
        entry["grounding"] = {"input": g.input, "method": g.method, "confidence": g.confidence}
    return entry


def unresolved_json(match: Match) -> dict[str, object]:
    """Return a title that means no item of the catalog, with what is near."""
    return {"input": match.input, "method": match.method, "candidates": [_named(item) for item in match.candidates]}


def _named(item: Item) -> dict[str, object]:
    return {"id": item.id, "title": item.title, "year": item.year}
