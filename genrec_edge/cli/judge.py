"""`genrec-edge judge` and `compare`: whether items would be enjoyed, and which of two is preferred."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CommandOptions
from genrec_edge.cli.history import HistoryOptions
from genrec_edge.cli.output import emit_json, print_table, say
from genrec_edge.cli.running import interruptible, opened
from genrec_edge.options import OpenOptions, Request


@takes(HistoryOptions, into="user")
@takes(Request, "preference intent context timeout_s", into="request")
@takes(OpenOptions, "model adapter catalog n_threads n_ctx", into="options")
@takes(CommandOptions, into="command")
def judge(
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Titles or ids.")],
    *,
    user: HistoryOptions,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Say how probable it is that the user enjoys an item."""
    asked, _ = user.user_of(request, quiet=command.quiet)
    from genrec_edge.cli.render import say_all_understood  # noqa: PLC0415
    from genrec_edge.serving.serialize import history_json, item_as_named  # noqa: PLC0415

    with opened(replace(options, prior_kind="none"), command) as r:  # a verdict has no use for a prior
        found = interruptible(
            r,
            lambda: r.judge(
                items,
                asked.history,
                preference=asked.preference,
                intent=asked.intent,
                context=asked.context,
                timeout_s=asked.timeout_s,
            ),
        )
    history = (found[0].resolved, found[0].unresolved)
    matches = [j.match for j in found if j.match is not None]
    if command.json:
        rows = [
            {**item_as_named(j.item, j.match), "p_yes": j.p_yes, "margin": j.margin}
            | {"met": j.met, "calibrated": j.is_calibrated}
            for j in found
        ]
        is_calibrated = all(j.is_calibrated for j in found)
        emit_json("genrec-edge/judge@1", {"items": rows, "calibrated": is_calibrated, **history_json(*history)})
        return
    if not command.quiet:
        say_all_understood(*history, matches)
    shown = [(j.item.title, j.item.year, "unknown" if j.met is False else f"{j.p_yes:.0%}") for j in found]
    print_table(["title", "year", "enjoyed"], shown, right=("enjoyed",))
    if any(j.met is False for j in found):
        what = "unknown: the model met no such title in training; `recommend --candidate` ranks it by facts and counts"
        say(what, quiet=command.quiet)
    elif not all(j.is_calibrated for j in found):
        say("this model was not calibrated: its probabilities order items, and mean no more", quiet=command.quiet)


@takes(HistoryOptions, into="user")
@takes(Request, "preference intent context timeout_s", into="request")
@takes(OpenOptions, "model adapter catalog n_threads n_ctx", into="options")
@takes(CommandOptions, into="command")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A title or id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    *,
    user: HistoryOptions,
    request: Request,
    options: OpenOptions,
    command: CommandOptions,
) -> None:
    """Say which of two items the user prefers, whatever the order they are named in."""
    asked, _ = user.user_of(request, quiet=command.quiet)
    from genrec_edge.cli.render import say_all_understood  # noqa: PLC0415
    from genrec_edge.serving.serialize import history_json, item_as_named  # noqa: PLC0415

    with opened(replace(options, prior_kind="none"), command) as r:  # a verdict has no use for a prior
        found = interruptible(
            r,
            lambda: r.compare(
                a,
                b,
                asked.history,
                preference=asked.preference,
                intent=asked.intent,
                context=asked.context,
                timeout_s=asked.timeout_s,
            ),
        )
    if command.json:
        a_named, b_named = map(item_as_named, (found.a, found.b), found.named)
        shares = {"p_a": found.p_a, "p_a_first": found.p_a_first, "p_a_second": found.p_a_second}
        history = history_json(found.resolved, found.unresolved)
        emit_json("genrec-edge/compare@1", {"a": a_named, "b": b_named, **shares, "agrees": found.agrees, **history})
        return
    if not command.quiet:
        say_all_understood(found.resolved, found.unresolved, found.named)
    rows = [
        (found.a.title, found.a.year, f"{found.p_a:.0%}", f"{found.p_a_first:.0%}", f"{found.p_a_second:.0%}"),
        (
            found.b.title,
            found.b.year,
            f"{1 - found.p_a:.0%}",
            f"{1 - found.p_a_second:.0%}",
            f"{1 - found.p_a_first:.0%}",
        ),
    ]
    columns = ("preferred", "named first", "named second")
    print_table(["title", "year", *columns], rows, right=columns)
    if not found.agrees:
        say("the two orders disagree: neither is clearly preferred", quiet=command.quiet)
