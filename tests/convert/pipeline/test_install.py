"""Files of a conversion in the model store: names, manifests, and models that are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.pipeline.install import install, require_free_names
from genrec_edge.convert.pipeline.plan import ConversionJob
from genrec_edge.convert.pipeline.run import ConversionResult
from genrec_edge.errors import UsageError
from genrec_edge.hub.store import ModelStore
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job(tiny_llama: Path, tmp_path: Path) -> ConversionJob:
    return ConversionJob(tiny_llama, tmp_path / "out", "small", "MIT", ("F32", "F16"), None, verify="none")


@pytest.fixture
def result(job: ConversionJob, tiny_llama: Path) -> ConversionResult:
    """Two file types that are the same file."""
    files = [{"file_type": quant, "sha256": sha256_file(tiny_llama)} for quant in job.quants]
    return ConversionResult(job.out, dict.fromkeys(job.quants, tiny_llama), None, {"files": files})


def test_each_file_type_has_a_name_and_the_first_that_of_the_job(
    job: ConversionJob, result: ConversionResult, own_home: Path
) -> None:
    store = ModelStore()
    require_free_names(job, store)
    assert install(result, job, store, lambda *_: None) == ["small", "small-f16"]
    path, manifest = store.get("small-f16")
    assert path.read_bytes() == result.files["F16"].read_bytes()
    assert (manifest.quant, manifest.licence, manifest.base_model) == ("F16", "MIT", "tiny")
    assert manifest.notes == "converted from tiny"


def test_a_model_that_is_there_already_is_left(job: ConversionJob, result: ConversionResult, own_home: Path) -> None:
    store = ModelStore()
    install(result, job, store, lambda *_: None)
    before = store.get("small")[1]
    with pytest.raises(UsageError, match="'small' is in"):
        require_free_names(job, store)
    assert install(result, job, store, lambda *_: None) == ["small", "small-f16"]
    assert store.get("small")[1] == before
    files = [{"file_type": quant, "sha256": "0" * 64} for quant in job.quants]
    other = ConversionResult(job.out, result.files, None, {"files": files})
    with pytest.raises(UsageError, match="'small' is in"):
        install(other, job, store, lambda *_: None)
