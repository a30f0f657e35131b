"""Opening a model: the size of its context, and options out of range."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from genrec_edge import Recommender
from genrec_edge.catalog.writer import build
from genrec_edge.decoding import prompts
from genrec_edge.errors import ModelInvalidError, UsageError
from genrec_edge.options import OpenOptions
from genrec_edge.serving.config import SessionConfig
from genrec_edge.serving.opening import find_model, open_engine
from tests.support.gguf_files import write_tiny_llama

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "options", [{"n_threads": 0}, {"n_threads": -1}, {"n_ctx": 0}, {"n_ctx": 10**9}, {"score": "magic"}]
)
def test_options_out_of_range_are_refused(
    tiny_llama: Path, tricky_path: Path, own_cache: None, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        Recommender.open(tiny_llama, tricky_path, **options).close()


def test_the_context_is_that_of_the_options_else_of_the_model_and_at_most_2048(tmp_path: Path) -> None:
    for n_ctx_train, given, expected in ((512, None, 512), (4096, None, 2048), (4096, 3072, 3072), (512, 256, 256)):
        path = write_tiny_llama(tmp_path / f"{n_ctx_train}.gguf", n_ctx=n_ctx_train)
        options = OpenOptions(n_ctx=given, n_threads=1)
        model_file = find_model(path)
        with closing(open_engine(model_file, SessionConfig.of(model_file, options), options)) as engine:
            assert (engine.n_ctx, engine.n_threads) == (expected, 1)


def test_a_model_of_a_context_too_small_is_refused(tmp_path: Path) -> None:
    model_file = find_model(write_tiny_llama(tmp_path / "short.gguf", n_ctx=128))
    config = SessionConfig.of(model_file, OpenOptions())
    with pytest.raises(ModelInvalidError, match="a context of 128 tokens, too small to recommend with") as error:
        open_engine(model_file, config, OpenOptions())
    assert "at least 256" in error.value.hint


def test_a_model_that_is_found_already_is_taken_as_it_is(tiny_llama: Path) -> None:
    found = find_model(str(tiny_llama))
    assert (found.path, found.manifest) == (tiny_llama, None)
    assert find_model(found) is found


@pytest.fixture(scope="module")
def long_titles_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a catalog of 40 titles of about 100 characters, which differ at their ends, and as many short ones."""
    folder = tmp_path_factory.mktemp("long")
    long = [f"{i},{'The Adventures of a Most Remarkable Person in ' * 2}{i % 7} of {i}" for i in range(40)]
    short = [f"s{i},Film {i}" for i in range(40)]
    (folder / "long.csv").write_text("\n".join(["id,title", *long, *short]), encoding="utf-8")
    build(folder / "long.csv", folder / "long.db")
    return folder / "long.db"


@pytest.mark.slow
@pytest.mark.parametrize("n_ctx", [256, 300, 384, 512, 700, 1023, 1024])
def test_a_small_context_gives_the_answers_of_a_large_one(
    tiny_llama: Path,
    long_titles_path: Path,
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_ctx: int,
) -> None:
    """A batch of more tokens than the context has ended the process; so did any model that was trained on so few."""
    monkeypatch.setattr(prompts, "YES", "yes")  # the tiny model begins both of its own with the same token
    monkeypatch.setattr(prompts, "NO", "no")
    names = [str(i) for i in range(40)]
    small = write_tiny_llama(tmp_path / "small.gguf", n_ctx=n_ctx)
    with (
        Recommender.open(tiny_llama, long_titles_path, n_threads=1) as large,
        Recommender.open(tiny_llama, long_titles_path, n_threads=1, n_ctx=n_ctx) as given,
        Recommender.open(small, long_titles_path, n_threads=1) as trained,
    ):
        expected = large.recommend(k=60)
        margins = [judged.margin for judged in large.judge(names)]
        for r in (given, trained):
            assert r.session.engine.n_ctx == n_ctx
            found = r.recommend(k=60)
            assert [item.item.id for item in found.items] == [item.item.id for item in expected.items]
            noise = 1e-4 * 110  # each of up to 110 tokens adds its own
            assert [item.score for item in found.items] == pytest.approx([i.score for i in expected.items], abs=noise)
            assert [judged.margin for judged in r.judge(names)] == pytest.approx(margins, abs=1e-2)
            assert len(r.recommend(["Film 1", "Film 2"], k=10, explain=True).items) == 10
            assert len(r.recommend(["Film 1"], k=2, decode="free").items) <= 2
