"""`genrec-edge evaluate`: how good models and baselines are on a data set, with intervals and tests."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genrec_edge.catalog.titles import printable
from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import Json, Offline, Quiet
from genrec_edge.cli.event_options import MinRating, load_rated
from genrec_edge.cli.output import console, emit_json, needs_extra, print_table, say
from genrec_edge.cli.users_bar import users_bar
from genrec_edge.errors import UsageError
from genrec_edge.options import OpenOptions
from genrec_edge.records import IntentKind, PreferenceKind, SplitKind, SummaryKind, Target, Ties
from genrec_edge.storage.files import path_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrec_edge.datasets.folder import Dataset
    from genrec_edge.evaluation.report import EvaluationReport
    from genrec_edge.evaluation.runner import RankingSystem

SCHEMA = "genrec-edge/evaluation@1"
_LEAST_COLUMNS = 3


@takes(OpenOptions, "adapter score calibrate n_threads n_ctx", into="options")
def evaluate(
    *,
    data: Annotated[str, typer.Option(metavar="NAME|DIR", help="A data set by its name, or its folder.")],
    options: OpenOptions,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME|FILE", help="A model of the store or a .gguf file; repeat it."),
    ] = None,
    prior: Annotated[
        Literal["popularity", "sequence", "mixture"],
        typer.Option(
            help="What --prior-weight weighs, counted from the training part of the split; the mixture also has facts "
            "in common, liked sets and how well known items are."
        ),
    ] = "mixture",
    prior_weight: Annotated[
        list[float] | None,
        typer.Option(
            metavar="W",
            help="Add W times the log of the prior to the models' scores; repeat it. 0: nothing. Without it, models "
            "that were tuned on a prior get it as they were.",
        ),
    ] = None,
    max_history: Annotated[
        int | None, typer.Option(metavar="N", help="Latest titles in the prompt; as many as the model reads at once.")
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="random, popularity, item-knn, ease, sequential, prior, facts, liked, mixture; all of these, or none. "
            "free: the models' own free text, grounded afterwards.",
        ),
    ] = "all",
    scores: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE.npz", help="Another baseline, by the scores it gave every item; repeat it."),
    ] = None,
    split: Annotated[SplitKind, typer.Option(help="What is held out: see docs/cli.md.")] = "leave-one-out",
    ties: Annotated[Ties, typer.Option(help="Order of events of one user with equal timestamps.")] = "file",
    min_rating: MinRating = None,
    min_count: Annotated[
        int, typer.Option(metavar="N", min=0, help="Leave out users and items with fewer events (N-core).")
    ] = 0,
    target: Annotated[Target, typer.Option(help="Which held-out items; choose settings on validation.")] = "test",
    min_age: Annotated[
        int | None,
        typer.Option(
            metavar="YEARS",
            min=1,
            help="Only targets whose year is so many before the year of the event, or more: no new releases.",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=3, help="Items asked for; 50 adds figures @50. Among all items, at least 10.")
    ] = 20,
    users: Annotated[int | None, typer.Option(metavar="N", help="A sample of the users; all.")] = None,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer",
            help="Rank the films that come with the package: the users' films are found among them, and liked sets "
            "and the mixture know none of the data set's events.",
        ),
    ] = False,
    candidates: Annotated[
        int | None, typer.Option(metavar="N", help="Rank the target among N sampled items; all items.")
    ] = None,
    negatives: Annotated[
        str,
        typer.Option(
            metavar="random|week-popularity|BASELINE",
            help="What is sampled beside the target: anything, what everybody met in that week, or the best of a "
            "baseline, such as sequential.",
        ),
    ] = "random",
    preference: Annotated[
        PreferenceKind,
        typer.Option(
            help="What systems know of the user: titles, nothing, their summary, or a summary and the latest titles."
        ),
    ] = "history",
    intent: Annotated[
        IntentKind,
        typer.Option(help="What is wanted, in words made of the target (oracle) or of the history (honest)."),
    ] = "none",
    recent: Annotated[int, typer.Option(metavar="N", min=1, help="Latest titles beside a summary.")] = 20,
    summary: Annotated[
        SummaryKind,
        typer.Option(help="Summaries of the whole history at once, or block by block as in LLM-TRSR."),
    ] = "whole",
    fit_first: Annotated[
        bool, typer.Option("--fit-first", help="Ask every system a second time: what has the wanted facts comes first.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of samples, intervals and tests.")] = 0,
    reference: Annotated[
        str | None, typer.Option(metavar="SYSTEM", help="Test all systems against this one, too.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the models' answers here, and ask for no answer twice.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures, the table and the JSON object here.")
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask models and baselines for the items that users met next, and say how often they knew."""
    _check_model_options(options, model or (), prior_weight or (), max_history)
    if plot is not None:
        with needs_extra("convert"):
            from genrec_edge.evaluation.plots import write as write_plots  # noqa: PLC0415 - before hours of work
        with path_errors(plot):
            plot.mkdir(parents=True, exist_ok=True)
    from genrec_edge.cli.models import ensure_model  # noqa: PLC0415
    from genrec_edge.datasets.splits import split_of  # noqa: PLC0415
    from genrec_edge.evaluation.llm_ranker import LlmRanker  # noqa: PLC0415
    from genrec_edge.evaluation.runner import evaluate as run  # noqa: PLC0415
    from genrec_edge.evaluation.systems import (  # noqa: PLC0415
        baseline_names,
        baseline_rankers,
        conditioner_of,
        external_ranker,
        model_variants,
        negatives_of,
    )
    from genrec_edge.evaluation.target_age import old_targets  # noqa: PLC0415

    dataset = _dataset(data, min_rating, transfer=transfer, quiet=quiet)
    asked = split_of(dataset, split, ties, min_count=min_count, seed=seed)
    if n_without := asked.n_without(target):
        why = "nothing new in that time" if split == "time" else "too few events, or one they had met before"
        say(f"{n_without:,} users have no {target} item: {why}", quiet=quiet)
    old = None if min_age is None else old_targets(dataset, asked, target, min_age)
    if old is not None:
        say(old.note(), quiet=quiet)
    names = baseline_names(baselines, has_model=bool(model))
    if not (names or model or scores):
        hint = "name a `model`, or other `baselines`, or a file of `scores`"
        raise UsageError("there are no systems to evaluate", hint=hint)
    in_words = (preference, intent) != ("history", "none")
    if fit_first and intent == "none":
        raise UsageError("`fit_first` needs an intention that items can fit", hint="name one with `intent`")
    conditioner = conditioner_of(dataset, asked, preference, intent, recent, summary, seed) if in_words else None
    turns = (False, True) if fit_first else (False,)
    systems: list[RankingSystem] = []
    for first in turns:
        systems += baseline_rankers(names, dataset, asked, fit_first=first, transfer=transfer)
        systems += [external_ranker(text, asked, target, fit_first=first) for text in scores or ()]
    model_files = [ensure_model(one, offline=offline, quiet=quiet) for one in model or ()]
    variants = list(model_variants(names, prior, prior_weight or [], dataset, asked, transfer=transfer))
    for first, (decode, added) in product(turns, variants):
        systems += [
            LlmRanker(
                model_file,
                dataset,
                adapter=None if options.adapter is None else Path(options.adapter),
                score=options.score,
                prior=added,
                calibrate=options.calibrate,
                max_history=max_history,
                fit_first=first,
                decode=decode,
                n_threads=options.n_threads,
                n_ctx=options.n_ctx,
            )
            for model_file in model_files
        ]
    with users_bar(len(systems), quiet=quiet) as on_user:
        report = run(
            asked,
            systems,
            k=k,
            users=users,
            target=target,
            candidates=candidates,
            negatives=negatives_of(negatives, dataset, asked, min_age, transfer=transfer),
            old=old,
            conditioner=conditioner,
            seed=seed,
            reference=reference,
            resume=resume,
            on_user=on_user,
        )
    if plot is not None:
        write_plots(plot, SCHEMA, report)
    if json:
        emit_json(SCHEMA, report.to_json())
    else:
        _show(report)


def _dataset(data: str, min_rating: float | None, *, transfer: bool, quiet: bool) -> Dataset:
    """Return the data set, over the films that come with the package if that is asked."""
    from genrec_edge.datasets.transfer import among_shipped_films  # noqa: PLC0415

    dataset = load_rated(data, min_rating, quiet=quiet)
    if not transfer:
        return dataset
    found, note = among_shipped_films(dataset)
    say(note, quiet=quiet)
    return found


def _check_model_options(
    options: OpenOptions, models: Sequence[str], prior_weights: Sequence[float], max_history: int | None
) -> None:
    """Raise UsageError for an option of models that is out of range, or given without a model."""
    for weight in prior_weights:
        if not 0 <= weight < math.inf:
            raise UsageError(f"`prior_weight` must be finite and at least 0, got {weight}")
    if max_history is not None and max_history < 1:
        raise UsageError(f"`max_history` must be at least 1, got {max_history}")
    given = {
        "prior_weight": bool(prior_weights),
        "max_history": max_history is not None,
        "adapter": options.adapter is not None,
        "score": options.score is not None,
        "calibrate": options.calibrate is not None,
    }
    if not models and any(given.values()):
        names = ", ".join(f"`{name}`" for name, is_given in given.items() if is_given)
        raise UsageError(f"{names} is about models, and none is given", hint="name one with `model`")


def _show(report: EvaluationReport) -> None:
    typer.echo(printable(report.headline()))
    columns, rows = report.columns, report.rows()
    n = len(columns)
    widths = [3 + max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    while n > _LEAST_COLUMNS and sum(widths[:n]) > console().width:
        n -= 1  # those of least interest stand last; --json and --plot have them all
    print_table(columns[:n], [row[:n] for row in rows], right=columns[1:], bold=report.best_cells())
    for line in report.notes():
        typer.echo(printable(line))
