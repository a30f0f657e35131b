"""What a worker answers: nothing depends on what it answered before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge import Recommender
from genrec_edge.batch.users import BatchUser
from genrec_edge.batch.worker import Chunk, answer_chunk
from genrec_edge.errors import CatalogError
from genrec_edge.options import Request

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("job_home")


def test_a_catalog_that_was_changed_meanwhile_ends_the_job(tiny_llama: Path, tricky_path: Path) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        chunk = Chunk(0, (BatchUser("u", Request(("Alien",), k=1)),))
        assert len(answer_chunk(recommender, chunk, recommender.catalog.revision)) == 1
        with pytest.raises(CatalogError, match="was changed since the job was begun"):
            answer_chunk(recommender, chunk, "another")


def test_answers_do_not_depend_on_who_was_asked_before(tiny_llama: Path, tricky_path: Path) -> None:
    a, b = BatchUser("a", Request(("Alien", "Heat (1995)"), k=9)), BatchUser("b", Request(("Alien", "Toy Story"), k=9))
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        revision = recommender.catalog.revision
        first = answer_chunk(recommender, Chunk(0, (a,)), revision)
        assert answer_chunk(recommender, Chunk(0, (b, a)), revision)[1:] == first
