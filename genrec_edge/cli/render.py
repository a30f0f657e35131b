"""How a result looks: the JSON object and the table for a person."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from genrec_edge.catalog.namesakes import label, question
from genrec_edge.catalog.titles import printable
from genrec_edge.cli.output import console, print_table, say
from genrec_edge.serving.serialize import history_json, item_json, resolved_json, unresolved_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.records import Match, Reading, Recommendation, Result

CARRIED_BY = "carried by"
RECOMMEND_SCHEMA = "genrec-edge/recommend@1"
_OTHER_COLUMNS = 43
"""Characters of a line that rank, year, score, probability and the space between columns take."""
_NARROWEST = 16
_FITS = 7
_MAX_PLAIN = 100
"""Titles of one line; the latest, of which a prompt has fewer."""


def to_json(result: Result) -> dict[str, object]:
    """Return a result as the payload of `genrec-edge/recommend@1`."""
    return {
        "items": [{**item_json(r), "columns": dict(r.item.columns)} for r in result.items],
        "exact": result.exact,
        "gap": result.gap,
        **history_json(result.resolved, result.unresolved),
        "left_out": [unresolved_json(m) for m in result.left_out],
        "named": [resolved_json(m) for m in result.named],
        "reading": None if result.reading is None else _reading_json(result.reading),
        "where": result.where,
        "loosened": list(result.loosened),
        "history_met": result.history_met,
        "dropped": result.dropped,
        "refused": result.refused,
        "model": dict(result.model),
        "catalog": dict(result.catalog),
        "timings": asdict(result.timings),
    }


def _reading_json(reading: Reading) -> dict[str, object]:
    return {
        "text": reading.text,
        "facts": [asdict(f) for f in reading.facts],
        "where": reading.where,
        "rest": reading.rest,
    }


def show(result: Result, *, quiet: bool, explain: bool = False) -> None:
    """Print the table on stdout, and why if that was asked; what was understood, and what it cost, on stderr."""
    if not quiet:
        say_all_understood(result.resolved, (*result.unresolved, *result.left_out), result.named)
        _say_reading(result)
        if result.dropped:
            oldest = "oldest title is" if result.dropped == 1 else f"{result.dropped} oldest titles are"
            say(f"the {oldest} left out: more than the model reads at once")
        _say_unmet(result)
    listed = next((name for name in ("genres", "genre") if any(r.item.columns.get(name) for r in result.items)), None)
    fitting = any(r.fits is not None for r in result.items)
    last = [CARRIED_BY] if any(r.parts for r in result.items) else ["score", "probability"]
    headings = ["#", "title", "year", *([listed] if listed else []), *(["fits"] * fitting), *last]
    longest = max((len(r.item.title) for r in result.items), default=0)
    room = max(_NARROWEST, console().width - longest - _OTHER_COLUMNS - _FITS * fitting)
    print_table(headings, [_cells(r, listed, room) for r in result.items], right=("#", "year", "score", "probability"))
    for r in result.items if explain else ():
        if why := _why(r):
            typer.echo(printable(f"{r.item.title}: {why}"))
    if not quiet:
        say(_cost(result))


def _say_unmet(result: Result) -> None:
    """Say where the model knows little of what it is asked about, and what answers instead."""
    n, met = len(result.resolved), result.history_met
    unmet = sum(r.met is False for r in result.items)
    if met is None or (2 * met >= n and 2 * unmet <= len(result.items)):
        return
    instead = "facts and counts decide" if any(r.parts for r in result.items) else "leave out --prior none"
    say(
        f"the model met {met} of the {n} titles and {len(result.items) - unmet} of the {len(result.items)} answers in "
        f"training: {instead}; docs/training.md says how to tune one on your own events"
    )


def say_all_understood(resolved: Sequence[Match], others: Sequence[Match], named: Sequence[Match]) -> None:
    """Say what a history was understood as, and of other items that were named those that are not named exactly."""
    say_understood(*resolved, *others, *(match for match in named if not _is_plain(match)))


def say_understood(*matches: Match) -> None:
    """Say on stderr what titles were understood as, each with its year, and which were not."""
    plain = [label(match.item) for match in matches if match.item is not None and _is_plain(match)]
    if plain:
        more = [f"{len(plain) - _MAX_PLAIN:,} more"] if len(plain) > _MAX_PLAIN else []
        say(printable(f"as written: {', '.join([*plain[-_MAX_PLAIN:], *more])}"))
    for match in matches:
        if not _is_plain(match):
            say(printable(_understood(match)))


def _is_plain(match: Match) -> bool:
    """Whether a text is the title or the id of an item, and nothing had to be decided."""
    return match.method in {"exact", "id"} and match.confidence == 1 and not match.note


def _say_reading(result: Result) -> None:
    if result.reading is None:
        return
    wanted = f"wanted: {result.reading.where}" if result.reading.where else "wanted: no facts of the catalog are named"
    say(printable(wanted + (f"; and, for the model, {result.reading.rest!r}" if result.reading.rest else "")))
    if result.loosened:
        given_up = " and ".join(result.loosened)
        say(printable(f"too few items satisfy all of that: given up {given_up}"))


def _cells(r: Recommendation, listed: str | None, room: int) -> list[object]:
    middle = [_short(str(r.item.columns.get(listed) or ""), room)] if listed else []
    if r.fits is not None:
        middle.append("yes" if r.fits else "no")
    # The score of a mixture is in nats times its weight, which says nothing to a person; the JSON has it.
    last = [carried_by(r)] if r.parts else [f"{r.score:.2f}", f"{math.exp(r.logprob):.2%}"]
    return [r.rank, r.item.title, r.item.year, *middle, *last]


def carried_by(r: Recommendation) -> str:
    """Return the parts of the score that carry an item most: one, or two if the second has half as many nats."""
    first, second, *_ = [*sorted(r.parts.items(), key=lambda part: -part[1]), ("", 0.0)]
    return first[0] if second[1] < first[1] / 2 else f"{first[0]}, {second[0]}"


def _why(r: Recommendation) -> str:
    """Return the titles that speak for an item, and what each part of the score adds, in nats; may be empty."""
    named = ", ".join(f"{label(reason.item)} +{reason.nats:.2f}" for reason in r.reasons)
    parts = [f"because of {named}"] if named else []
    if r.parts:
        parts.append(", ".join(f"{name} {nats:+.2f}" for name, nats in sorted(r.parts.items(), key=lambda p: -p[1])))
    return "; ".join(parts)


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _understood(match: Match) -> str:
    if match.item is not None:
        how = f"[{match.method}, {match.confidence:.2f}]"
        return f"understood {match.input!r} as {label(match.item)} {how}" + (f": {match.note}" if match.note else "")
    if match.method == "ambiguous":
        why = question(match.candidates)
    else:
        near = ", ".join(map(label, match.candidates))
        why = "it is not in the catalog" + (f"; near: {near}" if near else "")
    return f"left out {match.input!r}: {why}" + (f"; {match.note}" if match.note else "")


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
