"""Interrupts one long operation of the library again and again by real signals, and reports what came of each.

A program, not a test: `test_run_apart.py` starts it. It writes a JSON object for each trial, a line each: how far the
signal came in the operation (1: it would have ended then), what the caller saw, and whether the next call gave the
answer that an undisturbed one gives.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrec_edge import Recommender
from genrec_edge.catalog.facts import CatalogFacts
from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.quantization.imatrix import importance_matrix
from genrec_edge.datasets.folder import load
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model, quantize
from genrec_edge.engine.full_logits import FullLogitsModel
from genrec_edge.evaluation.llm_ranker import LlmRanker
from genrec_edge.hub.store import ModelStore, resolve_model
from genrec_edge.profiles.llm_summarizer import ModelSummarizer
from genrec_edge.profiles.summaries import FactSummarizer
from genrec_edge.storage import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Operation = tuple[Callable[[], object], Callable[[], object]]
    """Called before each call and not interrupted; and what is interrupted, whose answer is compared."""

SWALLOWED_S = 20.0
"""A signal that has not reached the caller after so long is lost."""
HISTORY = ["Jaws", "Fargo", "Alien (1979)", "Casablanca"]


class TerminatedError(Exception):
    """What a handler of SIGTERM may raise: any exception of a signal ends a call."""


def answers(result: Any) -> list[tuple[str, float]]:
    """Return ids and scores of a result."""
    return [(item.item.id, item.score) for item in result.items]


@contextmanager
def operation(name: str, model_path: Path, catalog_path: Path, data_path: Path) -> Iterator[Operation]:
    """Yield an operation of the library by its name."""
    if name in OF_RECOMMENDERS:
        with Recommender.open(model_path, catalog_path, n_threads=2) as r:
            before, work = OF_RECOMMENDERS[name](r)
            yield before, work
    elif name == "open":
        yield forget_indexes, lambda: _open(model_path, catalog_path)
    elif name == "evaluate":
        with LlmRanker(resolve_model(model_path, ModelStore()), load(data_path), n_threads=2) as ranker:
            histories = [np.array([i % 9, (i + 3) % 9], np.int32) for i in range(60)]
            yield (
                lambda: None,
                lambda: [(r.items.tolist(), r.scores.tolist()) for r in ranker.rank_many(histories, 5)],
            )
    elif name == "summaries":
        model_file = resolve_model(model_path, ModelStore())
        with (
            Catalog.open(catalog_path) as catalog,
            closing(
                ModelSummarizer.open(model_file, catalog, FactSummarizer(CatalogFacts(catalog)), n_threads=2)
            ) as writer,
        ):
            yield lambda: None, lambda: writer._generate_line(writer._engine.model.tokenize("Jaws and Alien, " * 20))
    elif name == "full logits":
        with closing(FullLogitsModel(Model(model_path), n_ctx=512, n_threads=2)) as forward:
            yield lambda: None, lambda: forward.logits([7 * i % 250 for i in range(500)]).tolist()
    elif name == "importance matrix":
        sequences = [[(7 * i + j) % 250 for i in range(60)] for j in range(4)]
        yield (
            lambda: None,
            lambda: {
                key: values.tolist() for key, values in importance_matrix(model_path, sequences, n_threads=1).items()
            },
        )
    elif name == "quantize":
        out = data_path.parent / "quantized.gguf"
        yield lambda: out.unlink(missing_ok=True), lambda: _quantized(model_path, out)
    else:
        raise ValueError(name)


OF_RECOMMENDERS: dict[str, Callable[[Recommender], Operation]] = {
    "recommend": lambda r: (r.forget, lambda: answers(r.recommend(HISTORY, k=20))),
    "recommend, warm": lambda r: (lambda: None, lambda: answers(r.recommend(HISTORY, k=20))),
    "recommend, free text": lambda r: (r.forget, lambda: answers(r.recommend(HISTORY, k=3, decode="free"))),
    "recommend, words": lambda r: (
        r.forget,
        lambda: answers(r.recommend(HISTORY, k=5, intent="drama", where="length(title) > 3")),
    ),
    "explain": lambda r: (r.forget, lambda: answers(r.recommend(HISTORY, k=5, explain=True))),
    "many": lambda r: (
        lambda: None,
        lambda: [answers(x) for x in r.recommend_many([HISTORY[:n] for n in (1, 2, 3)] * 3)],
    ),
    "rerank": lambda r: (r.forget, lambda: answers(r.rerank(["Jaws", "Vertigo", "Heat (1995)"], HISTORY))),
    "judge": lambda r: (r.forget, lambda: [j.margin for j in r.judge(["Jaws", "Vertigo"] * 10, HISTORY)]),
    "compare": lambda r: (r.forget, lambda: r.compare("Jaws", "Vertigo", HISTORY).p_a),
    "calibrate": lambda r: (forget_indexes, lambda: _calibrated(r)),
    "changed catalog": lambda r: (lambda: _age(r), lambda: answers(r.recommend(HISTORY, k=20))),
}
OPERATIONS = (*OF_RECOMMENDERS, "open", "evaluate", "summaries", "full logits", "importance matrix", "quantize")


def forget_indexes() -> None:
    """Have indexes and unconditional scores made again."""
    shutil.rmtree(paths.cache_path() / "indexes", ignore_errors=True)


def _age(r: Recommender) -> None:
    """Have the index of an open recommender made again, as if the catalog had changed, with a calibration to learn."""
    forget_indexes()
    trie, fusion = r.session._indexed.trie, r.session._indexed.fusion
    trie.key = type(trie.key)("an older one", trie.key.tokenizer)
    r.session._indexed = type(r.session._indexed)(
        trie, type(fusion)(fusion.n_items, trie, unconditional=(0.5, np.zeros(fusion.n_items)))
    )


def _calibrated(r: Recommender) -> object:
    r.calibrate(0.5)
    return answers(r.recommend(HISTORY, k=20))


def _open(model_path: Path, catalog_path: Path) -> object:
    with Recommender.open(model_path, catalog_path, n_threads=2) as r:
        return r.session.trie.tokens.tolist()


def _quantized(model_path: Path, out: Path) -> object:
    quantize(model_path, out, "Q8_0", n_threads=1)
    return out.stat().st_size


def trial(work: Callable[[], object], seconds: float, number: int) -> str:
    """Return what the caller of `work` sees of a signal that comes after so many seconds."""
    timer = threading.Timer(seconds, os.kill, [os.getpid(), number])
    try:
        timer.start()
        try:
            work()
        except (KeyboardInterrupt, TerminatedError) as e:
            return f"{type(e).__name__} in the call"
        waited_from = time.monotonic()
        while time.monotonic() - waited_from < SWALLOWED_S:
            time.sleep(0.001)
    except (KeyboardInterrupt, TerminatedError) as e:
        return f"{type(e).__name__} after the call"
    except BaseException as e:
        return f"another error: {e!r}"
    finally:
        timer.cancel()
    return "swallowed"


def main(name: str, n_trials: int, *files: str) -> None:
    """Make trials and write what came of them."""

    def terminate(_number: int, _frame: object) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, terminate)
    prompts.YES, prompts.NO = "yes", "no"  # the tiny model begins both of its own with the same token
    with operation(name, *map(Path, files)) as (before, work):
        for _ in range(2):
            before()
            started = time.perf_counter()
            expected = work()
            takes_s = time.perf_counter() - started
        for number in range(n_trials):
            rng = random.Random(number)
            before()
            share = rng.uniform(0, 1.2)
            seen = trial(work, share * takes_s, signal.SIGTERM if number % 5 == 4 else signal.SIGINT)
            before()
            found = {"share": share, "seen": seen, "next_is_right": work() == expected}
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
