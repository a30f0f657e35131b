"""Sampled prompts and histories, and the test split."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.catalog.writer import build
from genrec_edge.convert.verification import samples
from genrec_edge.decoding import prompts
from genrec_edge.engine.bindings import Model
from genrec_edge.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.converted_models import ConvertedModels

pytestmark = pytest.mark.slow


def test_prompts_are_those_of_the_recommender(converted_models: ConvertedModels) -> None:
    with closing(Model(converted_models.f16)) as model, Catalog.open(converted_models.catalog) as catalog:
        drawn = samples.draw_sequences(model, catalog, 1000, seed=5, n_ctx=2048)
        again = samples.draw_sequences(model, catalog, 1000, seed=5, n_ctx=2048)
        other = samples.draw_sequences(model, catalog, 1000, seed=6, n_ctx=2048)
        instruction = tuple(model.tokenize(prompts.INSTRUCTION))
        titles = {title for _, title, _ in catalog.titles()}
        text = model.detokenize(list(drawn.token_ids[0][drawn.start :]))
    assert drawn == again != other
    assert all(ids[: drawn.start] == instruction and len(ids) <= 256 for ids in drawn.token_ids)
    assert sum(len(ids) - drawn.start for ids in drawn.token_ids) == 1000
    lines = text.split("\n")[:-1]
    assert len(lines) > 5
    assert set(lines) <= titles


def test_histories_leave_enough_to_recommend(converted_models: ConvertedModels, tmp_path: Path) -> None:
    with Catalog.open(converted_models.catalog) as catalog:
        histories = samples.draw_histories(catalog, 4, 10, seed=1)
    assert [len({i.id for i in history}) for history in histories] == [20] * 4
    assert len(set(histories)) == 4
    for n, length in ((12, 2), (10, None)):
        (tmp_path / "x.csv").write_text("id,title\n" + "".join(f"{i},Film {i}\n" for i in range(n)))
        build(tmp_path / "x.csv", tmp_path / f"{n}.db")
        with Catalog.open(tmp_path / f"{n}.db") as catalog:
            if length is None:
                with pytest.raises(CatalogError, match="has 10 items, and 10 are to be recommended"):
                    samples.draw_histories(catalog, 1, 10, seed=1)
            else:
                assert len(samples.draw_histories(catalog, 1, 10, seed=1)[0]) == length


def test_titles_too_long_for_a_prompt_are_refused(converted_models: ConvertedModels, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,title\n" + "".join(f"{i},{'x' * 300}{i}\n" for i in range(20)))
    build(tmp_path / "x.csv", tmp_path / "x.db")
    with (
        closing(Model(converted_models.f16)) as model,
        Catalog.open(tmp_path / "x.db") as catalog,
        pytest.raises(CatalogError, match="longer than the 256 tokens"),
    ):
        samples.draw_sequences(model, catalog, 100, seed=0, n_ctx=2048)


def test_a_split_names_items_by_id_or_title(converted_models: ConvertedModels, tmp_path: Path) -> None:
    with Catalog.open(converted_models.catalog) as catalog:
        a, b, c = catalog.items([row for row, _, _ in catalog.titles()][:3])
        lines = [
            {"history": [a.id, b.title, "no such film anywhere"], "target": c.title},
            {"history": [c.id], "target": a.id},
        ]
        (tmp_path / "t.jsonl").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
        split = samples.read_split(tmp_path / "t.jsonl", catalog)
    assert split.n_unresolved == 1
    assert [([i.id for i in case.history], case.target_id) for case in split.cases] == [
        ([a.id, b.id], c.id),
        ([c.id], a.id),
    ]


def test_everything_wrong_with_a_split_is_one_error(converted_models: ConvertedModels, tmp_path: Path) -> None:
    with Catalog.open(converted_models.catalog) as catalog:
        known = next(catalog.titles())[1]
        lines = [
            b"not json",
            b"[1]",
            json.dumps({"history": known, "target": known}).encode(),
            json.dumps({"history": [known], "target": "no such film anywhere"}).encode(),
            json.dumps({"history": ["no such film anywhere"], "target": known}).encode(),
            b"\xff\xfe",
            b"[" * 100_000,
        ]
        (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
        with pytest.raises(UsageError) as caught:
            samples.read_split(tmp_path / "t.jsonl", catalog)
        for part in (
            "line 1 is not JSON",
            'line 2 is not an object with "history" and "target"',
            "line 3 has a history or a target that is not text",
            "line 4 has the target 'no such film anywhere', which is not in the catalog",
            "line 5 has a history without any item of the catalog",
            "; and 2 more",
        ):
            assert part in caught.value.message
        assert "\n" not in caught.value.message
        (tmp_path / "empty.jsonl").write_text("\n")
        with pytest.raises(UsageError, match="it is empty"):
            samples.read_split(tmp_path / "empty.jsonl", catalog)
        with pytest.raises(UsageError, match="cannot be read"):
            samples.read_split(tmp_path / "missing.jsonl", catalog)


def test_a_key_that_stands_twice_in_a_test_split_is_named(tmp_path: Path, nine_films_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"history": [], "target": "Heat", "target": "Alien"}\n')
    with Catalog.open(nine_films_path) as catalog, pytest.raises(UsageError) as caught:
        samples.read_split(tmp_path / "t.jsonl", catalog)
    assert "line 1 is ambiguous: the key 'target' stands twice in one object" in caught.value.message
