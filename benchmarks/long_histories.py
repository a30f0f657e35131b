"""Long histories as titles and as a profile: what a request costs, and how good it is.

    python benchmarks/long_histories.py
    python benchmarks/long_histories.py --data ml-100k

The first measures time and memory with histories of 20, 100, 500 and 2,000 films drawn from the shipped catalog; its
recommendations mean nothing. A profile is updated event by event before the clock starts, and timed for five more
events. The second measures hit rate and NDCG on the test items of real users with many events, for prompts with more
and more of them. Writes only to a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.cli.output import progress
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.item_facts import ItemFacts, facts_of
from genrec_edge.datasets.splits import split_of
from genrec_edge.evaluation import metrics
from genrec_edge.evaluation.conditioning import Conditioner
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.evaluation.protocol import cases_of
from genrec_edge.evaluation.system_metrics import CUTOFF
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.profiles.records import ProfileEvent
from genrec_edge.profiles.store import ProfileStore
from genrec_edge.profiles.summaries import FactSummarizer
from genrec_edge.recommender import Recommender
from genrec_edge.records import Interaction, Item, PreferenceKind, Result
from genrec_edge.storage import process_memory

LENGTHS = (20, 100, 500, 2000)
MORE = 5
MANY = 100


def main() -> None:
    """Measure, and print a row for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="a model of the store or a .gguf file; else the default")
    parser.add_argument("--data", help="a data set: how good requests are, not what they cost")
    parser.add_argument("--repeats", type=int, default=5, help="requests of which the median is taken")
    options = parser.parse_args()
    if options.data is not None:
        _print_quality(options.model, options.data)
        return
    rng = np.random.default_rng(0)
    with Recommender.open(options.model, prior_kind="none") as recommender, tempfile.TemporaryDirectory() as folder:
        store = ProfileStore(Path(folder) / "profiles.db")
        films = recommender.catalog
        summarizer = FactSummarizer(CatalogFacts(films))
        items = films.items(rng.permutation(np.arange(1, films.n_items + 1))[: max(LENGTHS) + MORE].tolist())
        print("| events | prompt | tokens of the prompt | titles left out | request | peak memory | 5 more events |")
        print("|---|---|---|---|---|---|---|")
        for n in LENGTHS:
            history = [Interaction(id=item.id) for item in items[:n]]
            print(_row(n, "titles", *_measured(recommender, history, None, options.repeats), ""))
            user = f"user-{n}"
            store.update(user, _events(items[:n]), films, summarizer)
            started = time.perf_counter()
            store.update(user, _events(items[n : n + MORE]), films, summarizer)
            update = f"{1000 * (time.perf_counter() - started):.0f} ms"
            known = store.context(user)
            measured = _measured(recommender, list(known.recent), known.preference, options.repeats)
            print(_row(n, "profile", *measured, update))


def _print_quality(model: str | None, data: str) -> None:
    """Print a row for each number of events in the prompt; films of the whole history are never recommended."""
    dataset = load(data)
    split = split_of(dataset, "leave-one-out", "file")
    cases, item_facts = cases_of(split), ItemFacts(facts_of(dataset), split.train)
    places = [place for place, history in enumerate(cases.histories) if len(history) >= MANY]
    histories = [cases.histories[place] for place in places]
    targets = cases.targets[places].tolist()
    preferences: dict[str, PreferenceKind] = {"titles": "history", "profile": "both"}
    print(f"{len(places)} users with at least {MANY} events, at most {max(map(len, histories))}\n")
    print("| events in the prompt | as | HR@10 | NDCG@10 |")
    print("|---|---|---|---|")
    with LlmRanker(resolve_model(model, ModelStore()), dataset) as ranker:
        for n in LENGTHS[:3]:
            for name, kind in preferences.items():
                conditioner = Conditioner(item_facts, kind)
                conditioning = [conditioner.condition(0, history[-n:], 0) for history in histories]
                rankings = ranker.rank_many(histories, CUTOFF, conditioning=conditioning)
                ranks = []
                with progress(f"{n} as {name}", len(conditioning)) as advance:
                    for ranking, target in zip(rankings, targets, strict=True):
                        ranks.append(ranking.rank_of(target))
                        advance(1)
                hit_rate = metrics.hit(np.array(ranks), CUTOFF).mean()
                print(f"| {n} | {name} | {hit_rate:.4f} | {metrics.ndcg(np.array(ranks), CUTOFF).mean():.4f} |")


def _events(items: list[Item]) -> list[ProfileEvent]:
    return [ProfileEvent(item.id, item.title) for item in items]


def _measured(
    recommender: Recommender, history: list[Interaction], preference: str | None, repeats: int
) -> tuple[Result, float, float | None]:
    """Return the last result, the median of seconds, and the peak of memory in MiB; no prompt is reused."""
    process_memory.reset_peak()
    seconds = []
    for turn in range(repeats):
        recommender.recommend([], k=1, preference=f"something else {turn}")  # the cache knows the heading alone
        started = time.perf_counter()
        result = recommender.recommend(history, preference=preference)
        seconds.append(time.perf_counter() - started)
    return result, float(np.median(seconds)), process_memory.peak_mib()


def _row(n: int, form: str, result: Result, seconds: float, peak: float | None, update: str) -> str:
    cells = (f"{n:,}", form, result.timings.prompt_tokens, result.dropped, f"{seconds:.2f} s", f"{peak or 0:.0f} MiB")
    return f"| {' | '.join(map(str, cells))} | {update} |"


if __name__ == "__main__":
    main()
