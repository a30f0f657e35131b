"""What a job reads besides base and adapters, checked before the work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genrec_edge.convert.pipeline.check_inputs import check_inputs
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.errors import CatalogError, UsageError


def job_of(**changes: Any) -> ConversionJob:
    options = {"quants": ("Q8_0",), "catalog": None, "verify": "none", **changes}
    return ConversionJob(base=Path("base"), out=Path("out"), name="small", licence="MIT", **options)


@pytest.mark.parametrize("n_threads", [0, -1, 513])
def test_a_number_of_threads_out_of_range_is_refused(n_threads: int) -> None:
    with pytest.raises(UsageError, match=f"`n_threads` must be from 1 to 512, got {n_threads}"):
        check_inputs(job_of(n_threads=n_threads))
    check_inputs(job_of(n_threads=512))


@pytest.mark.parametrize("field", ["test", "imatrix"])
def test_a_file_that_is_missing_is_refused_with_its_field(field: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"`{field}` is .*none, which is not a file"):
        check_inputs(job_of(**{field: tmp_path / "none"}))


def test_low_bit_types_need_an_importance_matrix(tricky_path: Path) -> None:
    with pytest.raises(UsageError, match="IQ2_XS, Q2_K_S cannot be written without") as caught:
        check_inputs(job_of(quants=("IQ2_XS", "Q8_0", "Q2_K_S")))
    assert "`imatrix`" in caught.value.hint
    check_inputs(job_of(quants=("IQ2_XS",), imatrix=tricky_path))


def test_a_file_that_is_not_a_catalog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("text")
    with pytest.raises(CatalogError):
        check_inputs(job_of(imatrix=tmp_path / "text.db"))
    with pytest.raises(CatalogError):
        check_inputs(job_of(catalog=tmp_path / "text.db", verify="full"))
    check_inputs(job_of(catalog=tmp_path / "text.db"))  # not read where nothing is verified


def test_a_test_split_is_read_where_files_are_verified(tricky_path: Path, tmp_path: Path) -> None:
    (tmp_path / "split.jsonl").write_text('{"history": ["Alien"], "target": "No Such Film"}\n')
    with pytest.raises(UsageError, match="'No Such Film', which is not in the catalog"):
        check_inputs(job_of(catalog=tricky_path, verify="quick", test=tmp_path / "split.jsonl"))
    check_inputs(job_of(catalog=tricky_path, test=tmp_path / "split.jsonl"))
