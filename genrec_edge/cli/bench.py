"""`genrec-edge bench`: what this machine does with a model and a catalog."""

from __future__ import annotations

import platform
import random
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from genrec_edge.cli.arguments import takes
from genrec_edge.cli.common_options import CommandOptions
from genrec_edge.cli.output import emit_json, print_table, progress
from genrec_edge.cli.running import opened
from genrec_edge.errors import UsageError
from genrec_edge.options import OpenOptions
from genrec_edge.records import Interaction
from genrec_edge.storage import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genrec_edge.recommender import Recommender
    from genrec_edge.records import Result

SCHEMA = "genrec-edge/bench@1"


@takes(
    OpenOptions,
    "model adapter catalog score prior prior_kind prior_weight n_threads n_ctx",
    into="options",
)
@takes(CommandOptions, into="command")
def bench(
    *,
    options: OpenOptions,
    command: CommandOptions,
    requests: Annotated[int, typer.Option("--requests", "-n", min=2, help="How many requests.")] = 20,
    length: Annotated[int, typer.Option("--history-length", min=0, help="Titles in each history.")] = 20,
    k: Annotated[int, typer.Option("-k", min=1, help="Items asked for.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Draw the histories from these items only.")] = None,
    seed: Annotated[int, typer.Option(help="Of the histories.")] = 0,
) -> None:
    """Measure load time, rates, evaluated tokens, time per request and memory on histories drawn at random."""
    with opened(options, command) as r:
        histories = _histories(r, requests, length + 1, where, seed)
        with progress("requests", len(histories), quiet=command.quiet) as advance:
            figures = measure(r, histories, k=k, advance=advance)
    if command.json:
        emit_json(SCHEMA, figures)
    else:
        show_figures(figures)


def measure(
    r: Recommender, histories: Sequence[Sequence[Interaction]], *, k: int, advance: Callable[[int], object]
) -> dict[str, object]:
    """Answer each history without its last title, then with it, and return the figures of both."""
    results, extended = [], []
    for history in histories:
        results.append(r.recommend(history[:-1], k=k))
        extended.append(r.recommend(history, k=k))
        advance(1)
    return _figures(results, extended)


def show_figures(figures: dict[str, object]) -> None:
    """Print figures as a table on stdout."""
    print_table(("measure", "value"), [(name, _shown(value)) for name, value in _flat(figures)])


def _histories(r: Recommender, n: int, length: int, where: str | None, seed: int) -> list[list[Interaction]]:
    """Return `n` histories of `length` different items drawn at random."""
    rows = r.catalog.filter("1 = 1" if where is None else where).tolist()
    if len(rows) < length:
        raise UsageError(f"{len(rows)} items fit the condition, {length} are needed", hint="loosen `where`")
    rng = random.Random(seed)  # noqa: S311 - not for security
    return [[Interaction(id=item.id) for item in r.catalog.items(rng.sample(rows, length))] for _ in range(n)]


def _figures(results: Sequence[Result], extended: Sequence[Result]) -> dict[str, object]:
    from genrec_edge.engine.build_info import build_info  # noqa: PLC0415 - no other command needs the engine this early

    timings = [result.timings for result in results]
    total_s = sorted(t.prompt_s + t.decode_s for t in timings)
    evaluated = sorted(t.evaluated_tokens for t in timings)
    prompt_tokens = sum(t.prompt_tokens - t.reused_tokens for t in timings)
    return {
        "model": dict(results[0].model),
        "catalog": dict(results[0].catalog),
        "machine": {"system": f"{platform.system()} {platform.machine()}", **asdict(build_info())},
        "requests": len(results),
        "load_s": timings[0].load_s,
        "request_p50_s": statistics.median(total_s),
        "request_p95_s": _percentile(total_s, 0.95),
        "prompt_tokens_per_s": prompt_tokens / sum(t.prompt_s for t in timings),
        "search_tokens_per_s": sum(evaluated) / sum(t.decode_s for t in timings),
        "evaluated_tokens_p50": statistics.median(evaluated),
        "evaluated_tokens_p95": _percentile(evaluated, 0.95),
        "engine_calls_p50": statistics.median(t.engine_calls for t in timings),
        "python_share_of_search": 1 - sum(t.engine_s for t in timings) / sum(t.decode_s for t in timings),
        "exact_share": sum(result.exact for result in results) / len(results),
        "extended_history_prompt_tokens_p50": statistics.median(
            r.timings.prompt_tokens - r.timings.reused_tokens for r in extended
        ),
        "extended_history_request_p50_s": statistics.median(r.timings.prompt_s + r.timings.decode_s for r in extended),
        "peak_memory_mib": process_memory.peak_mib(),
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _flat(figures: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in figures.items():
        flat += _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else [(prefix + name, value)]
    return flat


def _shown(value: object) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and value < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
