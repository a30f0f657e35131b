"""The report of an evaluation: metrics and paired tests of several systems, as JSON and as a table.

Knows metrics, nothing of how they were computed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from genrec_edge.engine.build_info import build_info
from genrec_edge.evaluation.ranker import FIT_FIRST
from genrec_edge.evaluation.significance import Estimate, PairedDifference, compare
from genrec_edge.evaluation.system_metrics import COLD, CUTOFFS, FULL_RANKING_METRICS, LONG, RARE, cutoff_of
from genrec_edge.gguf.training_keys import filters_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.evaluation.system_metrics import SystemMetrics

_FULL_COLUMNS = (
    *("system", "HR@10", "NDCG@10", "rare", "cold", "HR@5", "MRR@10"),
    *("coverage", "items", "overlap", "exact", "p50", "users/s"),
)
_MRRS = ("MRR@3", "MRR@5", "MRR@10")
_SAMPLED_COLUMNS = ("system", "HR@1", "NDCG@3", "HR@3", "HR@5", "HR@10", *_MRRS, "long", "p50", "users/s")
"""Columns of the table. "rare" and "cold" are HR@10 of the users with such targets, "long" is HR@1 of those with long
histories. "coverage" and "items" are what was shown to anybody, "overlap" what two users have in common."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One system against another on the same users, by metric."""

    system: str
    against: str
    results: Mapping[str, PairedDifference]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """The result of an evaluation.

    Attributes:
        split: the card of the split.
        protocol: users, targets, candidates and conditioning.
        systems: in the order they were evaluated, at least one.
        best_baseline: the baseline with the highest NDCG, or None.
        tests: of every system against the best baseline, and against the reference system if there is one.
    """

    split: Mapping[str, Any]
    protocol: Mapping[str, Any]
    systems: tuple[SystemMetrics, ...]
    best_baseline: str | None
    tests: tuple[PairedTest, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table, without metrics beyond `k`, and without hit rates that are always 1."""
        if self._ranks_all:
            return _FULL_COLUMNS
        n, k = 1 + self.protocol["candidates"], self.protocol["k"]
        always_one = {f"HR@{cutoff}" for cutoff in CUTOFFS if cutoff >= n}
        return tuple(c for c in _SAMPLED_COLUMNS if c not in always_one and ("@" not in c or cutoff_of(c) <= k))

    @property
    def tested(self) -> tuple[str, str]:
        """The two metrics of the tests; the second decides which baseline is the best."""
        first, second = self.columns[1:3]
        return first.lower(), second.lower()

    @property
    def _ranks_all(self) -> bool:
        return self.protocol["candidates"] is None

    def to_json(self) -> dict[str, Any]:
        """Return the payload of `genrec-edge/evaluation@1`; means over no users are null."""
        return {
            "split": dict(self.split),
            "protocol": dict(self.protocol),
            "systems": [system.to_json() for system in self.systems],
            "best_baseline": self.best_baseline,
            "tests": [
                {
                    "system": test.system,
                    "against": test.against,
                    **{m: {"difference": c.difference.to_json(), "p": c.p} for m, c in test.results.items()},
                }
                for test in self.tests
            ],
            "machine": asdict(build_info()),
        }

    def headline(self) -> str:
        """Return the split with its tie rule and the protocol in one line."""
        split, protocol = self.split, self.protocol
        kind = [split["split"], *split["filters"], f"ties by {split['ties']} order"]
        n = protocol["candidates"]
        ranked = f"all {split['items']:,} items ranked"
        if n is not None:
            ranked = f"1 + {n:,} items ranked, {protocol.get('negatives', 'sampled')}"
            if protocol.get("widened_weeks"):
                ranked += f" ({protocol['widened_weeks']:,} of longer times: too few items in the week)"
        targets = f"the {protocol['target']} items of {protocol['users']:,} users{_age(protocol)}"
        return f"{split['dataset']}, {', '.join(kind)}: {targets}, {ranked}, seen ones removed{self._conditioning()}"

    def _conditioning(self) -> str:
        """Return what the prompts contained besides the history, with a warning where it was made of the targets."""
        protocol = self.protocol
        if "preference" not in protocol:
            return ""
        preference, intent = str(protocol["preference"]), str(protocol["intent"])
        details = []
        if "summary" in protocol:
            details.append(f"{protocol['summary']} summary")
        if "recent" in protocol:
            details.append(f"latest {protocol['recent']:,} titles")
        if details:
            preference += f" ({', '.join(details)})"
        if intent in {"vague", "specific"}:
            intent += " (oracle: made of the target)"
        return f"; preference: {preference}; intention: {intent}"

    def rows(self) -> list[list[str]]:
        """Return the cells of the table, in the order of `columns`."""
        return [self._row(system) for system in self.systems]

    def _row(self, system: SystemMetrics) -> list[str]:
        row = [system.name, *(_interval(system.means[name.lower()]) for name in self.columns[1:3])]
        row += map(_share, self._quality(system)[2:])
        if self._ranks_all:
            shown = [f"{system.coverage:.1%}", f"{system.items_shown:,}", _share(system.overlap)]
            row += [*shown, f"{system.exact:.0%}"]
        return [*row, _seconds(system.cost["latency_p50_s"] or 0.0), _rate(system.cost["users_per_s"] or 0.0)]

    def _quality(self, system: SystemMetrics) -> list[float]:
        """Return the means of the columns that follow the name; nan where a segment has no users."""
        segments = {
            "rare": (RARE, FULL_RANKING_METRICS[0]),
            "cold": (COLD, FULL_RANKING_METRICS[0]),
            "long": (LONG, "hr@1"),
        }
        means = []
        for column in self.columns[1:]:
            if column in segments:
                name, metric = segments[column]
                means.append(system.segments[name].means[metric].mean)
            elif column.lower() in system.means:
                means.append(system.means[column.lower()].mean)
        return means

    def best_cells(self) -> set[tuple[int, int]]:
        """Return (row, column) of the highest means in the table, where there is more than one system."""
        best = set()
        for column, means in enumerate(zip(*map(self._quality, self.systems), strict=True), start=1):
            top = max(means)
            best |= {(row, column) for row, mean in enumerate(means) if mean == top > 0}
        return best if len(self.systems) > 1 else set()

    def notes(self) -> list[str]:
        """Return the lines below the table: segments, tests, what may have seen the targets, the build and the CPU."""
        sizes = (f"{name}: {part.n_users:,}" for name, part in self.systems[0].segments.items())
        lines = [f"±: half a 95 % interval; users with {'; '.join(sizes)}"]
        for test in self.tests:
            differences = "; ".join(f"{metric.upper()} {_difference(c)}" for metric, c in test.results.items())
            lines.append(f"{test.system} against {test.against}: {differences}")
        is_vague = str(self.protocol.get("intent")).endswith("vague")
        if is_vague and any(system.name.endswith(FIT_FIRST) for system in self.systems):
            lines.append("fit first: items of the genre that the vague words were made of, though they do not name it")
        for system in self.systems:
            tuned_on = system.about.get("tuned_on")
            if tuned_on and self._may_contain_targets(tuned_on):
                filters = f", {tuned_on['filters']}" if tuned_on.get("filters") else ""
                lines.append(
                    f"{system.name} was tuned on {tuned_on['split']}{filters}, ties by {tuned_on['ties']} order, of "
                    "these data: its training data may contain the targets of this evaluation"
                )
        return [*lines, str(build_info())]

    def _may_contain_targets(self, tuned_on: Mapping[str, str]) -> bool:
        """Whether a model was tuned on another part of these data than the training part of this split."""
        if tuned_on["sha256"] != self.split.get("sha256"):
            return False
        if tuned_on.get("filters", "") != filters_text(self.split["filters"]):
            return True
        return any(tuned_on[key] != self.split[key] for key in ("split", "ties"))

    def markdown(self) -> str:
        """Return headline, table and notes in Markdown, the best in bold."""
        best = self.best_cells()
        lines = [" | ".join(self.columns), " | ".join("---" for _ in self.columns)]
        for r, row in enumerate(self.rows()):
            cells = [cell.replace("|", "\\|") for cell in row]
            lines.append(" | ".join(f"**{cell}**" if (r, c) in best else cell for c, cell in enumerate(cells)))
        table = "\n".join(f"| {line} |" for line in lines)
        return "\n\n".join([self.headline(), table, *self.notes()]) + "\n"


def report_of(
    split: Mapping[str, Any],
    protocol: Mapping[str, Any],
    systems: Sequence[SystemMetrics],
    *,
    reference: str | None,
    seed: int,
    segment_metrics: tuple[str, ...] = FULL_RANKING_METRICS,
) -> EvaluationReport:
    """Return the report, every system tested against the best baseline and against the system named `reference`.

    The first two of `segment_metrics` are tested; the second decides which baseline is the best.
    """
    tested, second = segment_metrics[:2], segment_metrics[1]
    baselines = [system for system in systems if system.is_baseline]
    best = max(baselines, key=lambda system: system.means[second].mean, default=None)
    against = {reference, best.name if best else None}
    tests = [
        PairedTest(ours.name, theirs.name, {m: compare(ours.values(m), theirs.values(m), seed=seed) for m in tested})
        for theirs in systems
        if theirs.name in against
        for ours in systems
        if ours is not theirs
    ]
    return EvaluationReport(split, protocol, tuple(systems), best.name if best else None, tuple(tests))


def _age(protocol: Mapping[str, Any]) -> str:
    """Return which items are asked for, where that is not all."""
    years = protocol.get("min_age")
    return "" if years is None else f", {years} year{'s' * (years > 1)} old or older"


def _interval(value: Estimate) -> str:
    return f"{_share(value.mean)} ±{(value.high - value.low) / 2:.3f}".replace("±0", "±")


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}".removeprefix("0")


def _seconds(value: float) -> str:
    return f"{value * 1000:.2g} ms" if value < 0.1 else f"{value:.2f} s"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _difference(paired: PairedDifference) -> str:
    difference = paired.difference
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], p = {paired.p:.2g}"
