"""How the parts of a result are said in JSON, by `recommend --json` and in the rows of a job alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        said = {"note": g.note} if g.note else {}
        entry["grounding"] = {"input": g.input, "method": g.method, "confidence": g.confidence, **said}
    return entry


def resolved_json(match: Match) -> dict[str, object]:
    """Return what a title was understood as, by its item; `candidates` and `note` only where there are some."""
    named = {} if match.item is None else _named(match.item)
    entry: dict[str, object] = {"input": match.input, **named, "method": match.method, "confidence": match.confidence}
    if match.candidates:
        entry["candidates"] = [_named(item) for item in match.candidates]
    return entry | ({"note": match.note} if match.note else {})


def unresolved_json(match: Match) -> dict[str, object]:
    """Return a title that means no item of the catalog, with what is near."""
    entry: dict[str, object] = {"input": match.input, "method": match.method}
    entry["candidates"] = [_named(item) for item in match.candidates]
    return entry | ({"note": match.note} if match.note else {})


def history_json(resolved: Iterable[Match], unresolved: Iterable[Match]) -> dict[str, object]:
    """Return what the titles of a history were understood as, and those that mean no item."""
    return {"resolved": list(map(resolved_json, resolved)), "unresolved": list(map(unresolved_json, unresolved))}


def item_as_named(item: Item, match: Match | None) -> dict[str, object]:
    """Return an item that was named, with the note on what it was named as."""
    return {**_named(item), **({"note": match.note} if match is not None and match.note else {})}


def notes(matches: Iterable[Match]) -> list[str]:
    """Return what has to be said of titles that were understood, but might mean something else."""
    return [f"{match.input}: {match.note}" for match in matches if match.note]


def _named(item: Item) -> dict[str, object]:
    return {"id": item.id, "title": item.title, "year": item.year}
