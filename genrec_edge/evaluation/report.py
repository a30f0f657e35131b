"""What is said of several systems that were asked the same: figures and paired tests, as JSON and as a table.

Knows figures, nothing of how they came about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrec_edge.evaluation.ranker import FIT_FIRST
from genrec_edge.evaluation.significance import Estimate, PairedDifference, compare
from genrec_edge.evaluation.system_metrics import AT, COLD, FULL, KS, LONG, RARE, depth_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genrec_edge.evaluation.system_metrics import SystemMetrics

_ALL_RANKED = ("system", "HR@10", "NDCG@10", "rare", "cold", "HR@5", "MRR@10", "coverage", "exact", "p50", "users/s")
_MRRS = ("MRR@3", "MRR@5", "MRR@10")
_SOME_RANKED = ("system", "HR@1", "NDCG@3", "HR@3", "HR@5", "HR@10", *_MRRS, "long", "p50", "users/s")
"""Columns of the table for people. "rare" and "cold" are HR@10 of the users with such targets, "long" is HR@1 of those
with long histories."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One system against another on the same users, by metric."""

    system: str
    against: str
    results: Mapping[str, PairedDifference]


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """All that an evaluation found.

    Attributes:
        split: the card of the split.
        protocol: which users were asked what, and what they could be answered with.
        systems: in the order they were asked, at least one.
        best_baseline: the one with the highest NDCG, if there is one.
        tests: of every system against the best baseline, and against the reference where one is named.
    """

    split: Mapping[str, Any]
    protocol: Mapping[str, Any]
    systems: tuple[SystemMetrics, ...]
    best_baseline: str | None
    tests: tuple[PairedTest, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table for people; what was not asked for has none, nor what cannot but be found."""
        if self._ranks_all:
            return _ALL_RANKED
        n, k = 1 + self.protocol["candidates"], self.protocol["k"]
        certain = {f"HR@{depth}" for depth in KS if depth >= n}
        return tuple(c for c in _SOME_RANKED if c not in certain and ("@" not in c or depth_of(c) <= k))

    @property
    def tested(self) -> tuple[str, str]:
        """The metrics that are tested; the second decides which baseline is the best."""
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
            "systems": [_system_json(system) for system in self.systems],
            "best_baseline": self.best_baseline,
            "tests": [
                {
                    "system": test.system,
                    "against": test.against,
                    **{m: {"difference": _estimate_json(c.difference), "p": c.p} for m, c in test.results.items()},
                }
                for test in self.tests
            ],
        }

    def headline(self) -> str:
        """Return what was asked, in one line: the split with its tie rule, and the protocol."""
        split, protocol = self.split, self.protocol
        kind = [split["split"], *split["filters"], f"ties by {split['ties']} order"]
        n = protocol["candidates"]
        ranked = f"all {split['items']:,} items ranked"
        if n is not None:
            ranked = f"1 + {n:,} items ranked, {protocol.get('negatives', 'sampled')}"
        asked = f"the {protocol['target']} items of {protocol['users']:,} users"
        return f"{split['dataset']}, {', '.join(kind)}: {asked}, {ranked}, seen ones removed{self._told()}"

    def _told(self) -> str:
        """Return what was told beside the history, with a warning where it was made of the targets."""
        protocol = self.protocol
        if "preference" not in protocol:
            return ""
        how = [f"{protocol['summary']} summary"] if "summary" in protocol else []
        how += [f"latest {protocol['recent']:,} titles"] if "recent" in protocol else []
        of_user = str(protocol["preference"]) + (f" ({', '.join(how)})" if how else "")
        intent = str(protocol["intent"])
        oracle = " (oracle: made of the target)" if intent in {"vague", "specific"} else ""
        return f"; preference: {of_user}; intention: {intent}{oracle}"

    def rows(self) -> list[list[str]]:
        """Return the cells of the table for people, in the order of `columns`."""
        return [
            [
                system.name,
                *(_interval(system.means[name.lower()]) for name in self.columns[1:3]),
                *map(_share, self._quality(system)[2:]),
                *([f"{system.coverage:.1%}", f"{system.exact:.0%}"] if self._ranks_all else []),
                _seconds(system.cost["latency_p50_s"] or 0.0),
                _rate(system.cost["users_per_s"] or 0.0),
            ]
            for system in self.systems
        ]

    def _quality(self, system: SystemMetrics) -> list[float]:
        """Return the means of the columns that follow the name; nan where a segment has no users."""
        segments = {"rare": (RARE, FULL[0]), "cold": (COLD, FULL[0]), "long": (LONG, "hr@1")}
        found = []
        for column in self.columns[1:]:
            if column in segments:
                name, metric = segments[column]
                found.append(system.segments[name].means[metric].mean)
            elif column.lower() in system.means:
                found.append(system.means[column.lower()].mean)
        return found

    def best_cells(self) -> set[tuple[int, int]]:
        """Return (row, column) of the highest means in the table, where there is more than one system."""
        best = set()
        for column, means in enumerate(zip(*map(self._quality, self.systems), strict=True), start=1):
            top = max(means)
            best |= {(row, column) for row, mean in enumerate(means) if mean == top > 0}
        return best if len(self.systems) > 1 else set()

    def notes(self) -> list[str]:
        """Return what stands below the table: the segments, the tests, and which models may have met the targets."""
        sizes = (f"{name}: {part.n_users:,}" for name, part in self.systems[0].segments.items())
        lines = [f"±: half a 95 % interval; users with {'; '.join(sizes)}"]
        for test in self.tests:
            found = "; ".join(f"{metric.upper()} {_difference(c)}" for metric, c in test.results.items())
            lines.append(f"{test.system} against {test.against}: {found}")
        is_vague = str(self.protocol.get("intent")).endswith("vague")
        if is_vague and any(system.name.endswith(FIT_FIRST) for system in self.systems):
            lines.append("fit first: what has the genre that the vague words were made of, which they do not name")
        return lines + [
            f"{system.name} was tuned on {about['split']}, ties by {about['ties']} order, of these data: it may have "
            "met what is asked for here"
            for system in self.systems
            if (about := system.about.get("tuned_on")) and self._differs(about)
        ]

    def _differs(self, tuned_on: Mapping[str, str]) -> bool:
        """Whether a model was tuned on another part of these data than the training part of this split."""
        if tuned_on["sha256"] != self.split.get("sha256"):
            return False
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
    tested: tuple[str, ...] = FULL,
) -> EvaluationReport:
    """Return the report, every system tested against the best baseline and against the system named `reference`.

    Of the metrics of segments, `tested`, the first two are tested; the second decides which baseline is the best.
    """
    both, second = tested[:2], tested[1]
    baselines = [system for system in systems if system.is_baseline]
    best = max(baselines, key=lambda system: system.means[second].mean, default=None)
    against = {reference, best.name if best else None}
    tests = [
        PairedTest(ours.name, theirs.name, {m: compare(ours.values(m), theirs.values(m), seed=seed) for m in both})
        for theirs in systems
        if theirs.name in against
        for ours in systems
        if ours is not theirs
    ]
    return EvaluationReport(split, protocol, tuple(systems), best.name if best else None, tuple(tests))


def _system_json(system: SystemMetrics) -> dict[str, Any]:
    return {
        "name": system.name,
        "baseline": system.is_baseline,
        "about": dict(system.about),
        "metrics": {name: _estimate_json(mean) for name, mean in system.means.items()},
        "segments": {
            name: {"users": part.n_users, **{metric: _estimate_json(mean) for metric, mean in part.means.items()}}
            for name, part in system.segments.items()
        },
        "answers": {
            "exact": system.exact,
            "valid": system.valid,
            "distinct": system.distinct,
            f"coverage@{AT}": system.coverage,
            f"popularity_rank@{AT}": _number(system.popularity_rank),
        },
        "cost": dict(system.cost),
    }


def _estimate_json(value: Estimate) -> dict[str, float | None]:
    return {"mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _interval(value: Estimate) -> str:
    return f"{_share(value.mean)} ±{(value.high - value.low) / 2:.3f}".replace("±0", "±")


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}".removeprefix("0")


def _seconds(value: float) -> str:
    return f"{value * 1000:.2g} ms" if value < 0.1 else f"{value:.2f} s"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _difference(found: PairedDifference) -> str:
    difference = found.difference
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], p = {found.p:.2g}"
