"""How a result looks: the JSON object and the table for a person."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from genrec_edge.cli.output import console, print_table, say
from genrec_edge.titles import printable

if TYPE_CHECKING:
    from genrec_edge.records import Item, Match, Recommendation, Result

RECOMMEND_SCHEMA = "genrec-edge/recommend@1"
_OTHER_COLUMNS = 43
"""Characters of a line that rank, year, score, probability and the space between columns take."""
_NARROWEST = 16


def to_json(result: Result) -> dict[str, object]:
    """Return a result as the payload of `genrec-edge/recommend@1`."""
    return {
        "items": [_item_json(r) for r in result.items],
        "exact": result.exact,
        "gap": result.gap,
        "resolved": [
            {
                "input": m.input,
                "id": m.item.id,
                "title": m.item.title,
                "method": m.method,
                "confidence": m.confidence,
            }
            for m in result.resolved
            if m.item is not None
        ],
        "unresolved": [
            {"input": m.input, "method": m.method, "candidates": [_named(item) for item in m.candidates]}
            for m in result.unresolved
        ],
        "dropped": result.dropped,
        "refused": result.refused,
        "model": dict(result.model),
        "catalog": dict(result.catalog),
        "timings": asdict(result.timings),
    }


def _item_json(r: Recommendation) -> dict[str, object]:
    entry = {
        "rank": r.rank,
        **_named(r.item),
        "score": r.score,
        "logprob": r.logprob,
        "bias": r.bias,
        "columns": dict(r.item.columns),
    }
    if r.prior is not None:
        entry["prior"] = r.prior
    if r.grounding is not None:
        g = r.grounding
        entry["grounding"] = {"input": g.input, "method": g.method, "confidence": g.confidence}
    return entry


def _named(item: Item) -> dict[str, object]:
    return {"id": item.id, "title": item.title, "year": item.year}


def show(result: Result, *, quiet: bool) -> None:
    """Print the table on stdout; what was understood, and what it cost, on stderr."""
    if not quiet:
        for match in (*result.resolved, *result.unresolved):
            if match.item is None or match.method not in ("exact", "id"):
                say(printable(_understood(match)))
        if result.dropped:
            oldest = "title does" if result.dropped == 1 else "titles do"
            count = "" if result.dropped == 1 else f"{result.dropped} "
            left = "was" if result.dropped == 1 else "were"
            say(f"the {count}oldest {oldest} not fit the context and {left} left out")
    listed = next((name for name in ("genres", "genre") if any(r.item.columns.get(name) for r in result.items)), None)
    headings = ["#", "title", "year", *([listed] if listed else []), "score", "probability"]
    longest = max((len(r.item.title) for r in result.items), default=0)
    room = max(_NARROWEST, console().width - longest - _OTHER_COLUMNS)
    print_table(headings, [_cells(r, listed, room) for r in result.items], right=("#", "year", "score", "probability"))
    if not quiet:
        say(_cost(result))


def _cells(r: Recommendation, listed: str | None, room: int) -> list[object]:
    middle = [_short(str(r.item.columns.get(listed) or ""), room)] if listed else []
    return [r.rank, r.item.title, r.item.year, *middle, f"{r.score:.2f}", f"{math.exp(r.logprob):.2%}"]


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _label(item: Item) -> str:
    return item.title if item.year is None else f"{item.title} ({item.year})"


def _understood(match: Match) -> str:
    if match.item is not None:
        return f"understood {match.input!r} as {_label(match.item)} [{match.method}, {match.confidence:.2f}]"
    near = ", ".join(_label(item) for item in match.candidates)
    what = "could be several items" if match.method == "ambiguous" else "is not in the catalog"
    return f"left out {match.input!r}: it {what}" + (f"; near: {near}" if near else "")


def _cost(result: Result) -> str:
    t = result.timings
    if result.exact:
        how = "the exact top of the catalog"
    elif result.gap is None:
        how = f"free text, {result.refused} titles refused"
    else:
        how = f"not proven exact: another item may be better by {result.gap:.2f} nats at most"
    load = f"loaded in {t.load_s:.2f} s, " if t.load_s else ""
    return (
        f"{how}; {load}prompt {t.prompt_s:.2f} s ({t.prompt_tokens} tokens, {t.reused_tokens} reused), "
        f"search {t.decode_s:.2f} s ({t.evaluated_tokens} tokens)"
    )
