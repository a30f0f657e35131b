"""A session: what it keeps of the last prompt, deadlines, and a catalog that changes meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog import edit, writer
from genrec_edge.catalog.reader import Catalog
from genrec_edge.decoding import trie_cache
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import CancelledError, CatalogError, DeadlineError, NothingToRecommendError, UsageError
from genrec_edge.storage import paths
from genrec_edge.storage.folders import locked_root
from tests.support.recommenders import Hook, ids, scores
from tests.support.where_bombs import grown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from genrec_edge.records import Decode, Interaction, Match

    Trials = Callable[[int, int], int]


@pytest.fixture
def own_catalog_path(tricky_path: Path, tmp_path: Path) -> Path:
    """A copy of the tricky catalog that a test may change."""
    return Path(shutil.copy(tricky_path, tmp_path / "own.db"))


def test_loading_is_counted_once(tiny_llama: Path, tricky_path: Path, own_cache: None) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as r:
        assert [r.recommend(k=1).timings.load_s > 0 for _ in range(2)] == [True, False]


def test_an_extended_history_evaluates_only_the_new_title(
    recommender: Recommender, tiny_llama: Path, tricky_path: Path
) -> None:
    history = ["Vertigo", "Seventh Seal, The (Sjunde inseglet, Det)", "Casablanca"]
    recommender.recommend(history, k=5)
    same = recommender.recommend(history, k=5)
    assert same.timings.reused_tokens == same.timings.prompt_tokens
    extended = recommender.recommend([*history, "Matrix, The"], k=5)
    model = Model(tiny_llama, vocab_only=True)
    n_new = len(model.tokenize("The Matrix (1999)")) + 1  # two items have the title: the model sees the year
    model.close()
    assert extended.timings.prompt_tokens - extended.timings.reused_tokens == n_new
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior_kind="none") as fresh:
        assert ids(fresh.recommend(history, k=5)) == ids(same)
    with Recommender.open(tiny_llama, tricky_path, n_threads=1, prior_kind="none") as fresh:
        from_scratch = fresh.recommend([*history, "Matrix, The"], k=5)
    assert from_scratch.timings.reused_tokens == 0
    assert ids(from_scratch) == ids(extended)
    assert scores(from_scratch) == [r.score for r in extended.items]


def test_a_deadline_ends_the_request_and_only_it(recommender: Recommender) -> None:
    def let_the_deadline_pass() -> None:
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()

    expected = recommender.recommend(["Jaws"], k=3)
    with pytest.raises(DeadlineError):
        recommender.recommend(["Jaws", "Fargo"], k=3, timeout_s=1e-6, bias=Hook(let_the_deadline_pass))
    assert ids(recommender.recommend(["Jaws"], k=3)) == ids(expected)
    unhurried = recommender.recommend(["Jaws"], k=3, timeout_s=3600)
    assert ids(unhurried) == ids(expected)


@pytest.mark.slow
def test_a_filter_that_takes_long_ends_with_the_deadline_and_when_cancelled(recommender: Recommender) -> None:
    long, set_of_others = grown("'aeiaeiaei'", 4, 12), grown("'aeiaeiaei'", 3, 14)
    # 2 s is the limit of a filter; this one takes hours
    where = f"ltrim(title || {long}, upper({set_of_others}) || lower(title) || 'aei') = title"
    expected = recommender.recommend(["Jaws"], k=3)
    with pytest.raises(DeadlineError):
        recommender.recommend(["Jaws"], k=3, where=where, timeout_s=0.3)
    canceller = threading.Timer(0.3, recommender.cancel)
    canceller.start()
    with pytest.raises(CancelledError):
        recommender.recommend(["Jaws"], k=3, where=where)
    with pytest.raises(UsageError, match="takes more than 2 s"):
        recommender.recommend(["Jaws"], k=3, where=where)
    assert ids(recommender.recommend(["Jaws"], k=3, where="instr(title, 'a')")) != []
    assert ids(recommender.recommend(["Jaws"], k=3)) == ids(expected)


def test_answers_follow_a_catalog_that_changes(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None
) -> None:
    more = tmp_path / "more.csv"
    more.write_text("id,title,year\n900,Zardoz,1974\n901,Alien,2030\n")
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1) as r:
        before = r.recommend(["Alien"], k=5)
        assert before.catalog["items"] == 60
        with pytest.raises(NothingToRecommendError):
            r.recommend(["Zardoz"], k=1)
        edit.add(own_catalog_path, more)
        added = r.recommend(["Zardoz", "Alien (1979)"], k=1, where="year = 2030")
        assert (ids(added), added.catalog["items"]) == (["901"], 62)
        assert added.catalog["revision"] != before.catalog["revision"]
        edit.remove(own_catalog_path, ["900", "901"])
        removed = r.recommend(["Alien"], k=5)
        assert removed.catalog["items"] == 60
        assert ids(removed) == ids(before)
        assert scores(removed) == [item.score for item in before.items]
        with pytest.raises(NothingToRecommendError):
            r.recommend(["Zardoz"], k=1)


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["exact", "beam"])
def test_a_catalog_that_changes_during_a_request(
    tiny_llama: Path, own_catalog_path: Path, own_cache: None, decode: Decode
) -> None:
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1) as r:
        first = r.recommend(k=1).items[0].item.id
        change = iter([None, lambda: edit.remove(own_catalog_path, [first])])

        def remove_the_best() -> None:
            if function := next(change, None):
                function()

        result = r.recommend(["Jaws"], k=59 - 1, decode=decode, bias=Hook(remove_the_best))
        assert first not in ids(result)
        assert len(set(ids(result))) == 58


def test_a_catalog_that_became_empty_says_so(tiny_llama: Path, tmp_path: Path, own_cache: None) -> None:
    path = tmp_path / "empty.db"
    (tmp_path / "one.csv").write_text("title\nJaws\n")
    writer.build(tmp_path / "one.csv", path)
    with Recommender.open(tiny_llama, path, n_threads=1) as r:
        assert len(r.recommend(k=1).items) == 1
        with Catalog.open(path) as opened:
            only = opened.items([row for row, _, _ in opened.titles()])[0]
        try:
            edit.remove(path, [only.id])
        except UsageError:
            return  # the last item cannot be removed
        with pytest.raises((CatalogError, NothingToRecommendError)):
            r.recommend(k=1)


def _changes(path: Path, tmp_path: Path) -> Iterator[Callable[[], object]]:
    """Yield changes of a catalog that move the positions of all items: the first in order comes, goes, comes, ..."""
    first = tmp_path / "first.csv"
    first.write_text('id,title,year\n900,!Zardoz,1974\n901,"""Aa""",2030\n')
    while True:
        yield lambda: edit.add(path, first)
        yield lambda: edit.remove(path, ["900", "901"])


@pytest.mark.slow
def test_many_users_are_answered_from_a_catalog_that_changed_since_the_last_request(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None
) -> None:
    histories = [["Jaws"], ["Fargo"], ["Alien (1979)"]]
    changes = _changes(own_catalog_path, tmp_path)
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=2) as r:
        r.calibrate(1)
        for _ in range(2):
            next(changes)()
            many = r.recommend_many(histories, k=50)
            with Recommender.open(tiny_llama, own_catalog_path, n_threads=1, calibrate=1) as fresh:
                for result, history in zip(many, histories, strict=True):
                    expected = fresh.recommend(history, k=50)
                    assert result.model["calibrate"] == 1
                    assert [x.bias for x in result.items] == pytest.approx([x.bias for x in expected.items], abs=0.01)
                    assert ids(result) == ids(expected)


@pytest.mark.slow
def test_a_clone_follows_the_catalog_as_its_session_does(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None
) -> None:
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1, calibrate=0.5) as r:
        next(_changes(own_catalog_path, tmp_path))()
        with r.session.clone() as session:
            cloned = Recommender(session).recommend(["Jaws"], k=62 - 1)
        own = r.recommend(["Jaws"], k=62 - 1)
    assert ids(cloned) == ids(own)
    assert [item.bias for item in cloned.items] == [item.bias for item in own.items]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_calibration_outlives_whatever_ends_the_request_that_learns_it_anew(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None, how: str, trials: Trials
) -> None:
    n_ended = 0
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1, calibrate=1) as r:
        for trial, change in zip(range(trials(4, 60)), _changes(own_catalog_path, tmp_path), strict=False):
            change()
            shutil.rmtree(paths.cache_path() / "indexes")  # nothing of it was learned before
            seconds = 1e-3 * 1.1 ** (trial % 40)
            canceller = threading.Timer(seconds, r.cancel)
            canceller.start()
            try:
                r.recommend(["Jaws"], k=3, timeout_s=seconds if how == "timeout" else None)
            except (DeadlineError, CancelledError):
                n_ended += 1
            canceller.join()
            result = r.recommend(["Jaws"], k=3)
            assert result.model["calibrate"] == 1
            assert result.catalog["revision"] == r.catalog.revision
            with Recommender.open(tiny_llama, own_catalog_path, n_threads=1, calibrate=1) as fresh:
                expected = fresh.recommend(["Jaws"], k=3)
            assert ids(result) == ids(expected)
            assert scores(result) == [item.score for item in expected.items]
    assert n_ended > 0


def test_a_calibration_that_fails_leaves_the_one_before(recommender: Recommender) -> None:
    def fail(_done: int, _total: int) -> None:
        raise RuntimeError("stop")

    recommender.calibrate(1)
    before = recommender.recommend(["Jaws"], k=5)
    shutil.rmtree(paths.cache_path() / "indexes")
    with pytest.raises(RuntimeError, match="stop"):
        recommender.calibrate(2, fail)
    after = recommender.recommend(["Jaws"], k=5)
    recommender.calibrate(0)
    assert after.model["calibrate"] == 1
    assert [item.score for item in after.items] == [item.score for item in before.items]


@pytest.mark.parametrize("name", ["recommend", "forget", "close"])
@pytest.mark.parametrize("is_main_thread", [True, False])
def test_a_call_from_a_callback_of_a_call_is_refused(
    recommender: Recommender, name: str, *, is_main_thread: bool
) -> None:
    arguments = (["Jaws"],) if name == "recommend" else ()
    expected = recommender.recommend(["Jaws"], k=3)
    shutil.rmtree(paths.cache_path() / "indexes", ignore_errors=True)  # so that there is a calibration to learn

    def calibrate() -> None:
        recommender.calibrate(1, lambda _done, _total: getattr(recommender, name)(*arguments))

    with ThreadPoolExecutor(1) as pool:
        call = calibrate if is_main_thread else lambda: pool.submit(calibrate).result(60)
        with pytest.raises(UsageError, match="in a callback of its own call"):
            call()
    assert [item.score for item in recommender.recommend(["Jaws"], k=3).items] == scores(expected)


def test_waiting_for_another_request_counts_for_the_deadline(recommender: Recommender) -> None:
    expected = recommender.recommend(["Jaws"], k=3)
    begun, go_on = threading.Event(), threading.Event()
    readings = iter(["before the request", "inside of it"])

    def wait() -> None:
        if next(readings, "") == "inside of it":
            begun.set()
            assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: recommender.recommend(["Jaws"], k=3, bias=Hook(wait)))
        assert begun.wait(60)
        with pytest.raises(DeadlineError):
            recommender.recommend(["Jaws"], k=3, timeout_s=0.1)
        go_on.set()
        assert ids(first.result()) == ids(expected)


@pytest.mark.slow
def test_the_wait_for_an_index_that_another_process_builds_ends_with_the_deadline(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None
) -> None:
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1) as r:
        folder = trie_cache.index_path(r.catalog, r.session._indexer.fingerprint).parent
        next(_changes(own_catalog_path, tmp_path))()
        with locked_root(folder):
            with pytest.raises(DeadlineError):
                r.recommend(["Jaws"], k=3, timeout_s=0.3)
            canceller = threading.Timer(0.3, r.cancel)
            canceller.start()
            with pytest.raises(CancelledError):
                r.recommend(["Jaws"], k=3)
            canceller.join()
        assert r.recommend(["Jaws"], k=3).catalog["items"] == 62


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_resolving_a_long_history_ends_with_the_deadline(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    expected = recommender.recommend(["Jaws"], k=3)
    resolved: list[str | None] = []
    resolve = recommender.session.resolver.resolve_interaction

    def counted(interaction: Interaction) -> Match:
        resolved.append(interaction.title)
        if how == "cancel" and len(resolved) == 10:
            recommender.cancel()
        return resolve(interaction)

    monkeypatch.setattr(recommender.session.resolver, "resolve_interaction", counted)
    history = [f"The Jaws of {number}" for number in range(30_000)]
    with pytest.raises(DeadlineError if how == "timeout" else CancelledError):
        recommender.recommend(history, k=3, timeout_s=0.2 if how == "timeout" else None)
    assert 0 < len(resolved) < len(history)
    assert ids(recommender.recommend(["Jaws"], k=3)) == ids(expected)


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_an_index_when_a_session_is_opened(
    tiny_llama: Path, own_catalog_path: Path, tmp_path: Path, own_cache: None
) -> None:
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1) as r:
        folder = trie_cache.index_path(r.catalog, r.session._indexer.fingerprint).parent
    next(_changes(own_catalog_path, tmp_path))()
    with locked_root(folder):
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            Recommender.open(tiny_llama, own_catalog_path, n_threads=1)
    with Recommender.open(tiny_llama, own_catalog_path, n_threads=1) as r:
        assert r.recommend(k=1).catalog["items"] == 62
