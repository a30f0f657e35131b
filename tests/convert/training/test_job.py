"""Jobs are checked before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from genrec_edge.convert.training.job import open_inputs
from genrec_edge.convert.training.loop import train
from genrec_edge.errors import UsageError
from tests.support.training_runs import changed, job

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]


def test_modules_that_do_not_exist_are_named(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    wanted = job(cycle_data, tiny_base, tmp_path / "out", changed(lora={"whole": ["norm", "wo", "w2"]}))
    with pytest.raises(UsageError, match=r"lora.whole: .* has no modules called wo, w2"):
        train(wanted)


def test_inputs_are_opened_with_the_layers_that_are_kept(cycle_data: Path, tiny_llama: Path, tmp_path: Path) -> None:
    inputs = open_inputs(job(cycle_data, tiny_llama, tmp_path / "out", changed(base={"layers": "1"})))
    assert inputs.base.config.n_layers == 1
    assert inputs.dataset.n_items == 20
    assert not (tmp_path / "out").exists()


def test_layers_that_the_base_lacks_are_named_as_in_the_recipe(
    cycle_data: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"^base.layers includes layer 7, and .* has layers 0 to"):
        open_inputs(job(cycle_data, tiny_llama, tmp_path / "out", changed(base={"layers": "0,7"})))


@pytest.mark.parametrize("n_threads", [0, -1, 513, 99_999])
def test_threads_out_of_range_are_refused(n_threads: int, cycle_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    wanted = replace(job(cycle_data, tiny_base, tmp_path / "out"), n_threads=n_threads)
    with pytest.raises(UsageError, match=f"`n_threads` must be from 1 to 512, got {n_threads}"):
        open_inputs(wanted)


def test_a_folder_without_an_adapter_and_a_folder_in_use_are_refused(
    cycle_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    document = changed(base={"adapter": str(tmp_path / "empty")})
    with pytest.raises(UsageError, match=r"base.adapter: there is no adapter_model.safetensors in .*empty"):
        open_inputs(job(cycle_data, tiny_base, tmp_path / "out", document))
    (tmp_path / "empty" / "adapter_deltas.safetensors").touch()
    with pytest.raises(UsageError, match=r"there is no adapter_model.safetensors") as caught:
        open_inputs(job(cycle_data, tiny_base, tmp_path / "out", document))
    assert caught.value.hint == "it was packed: python -m genrec_edge.convert.pipeline.pack --unpack ADAPTER BASE OUT"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(UsageError, match="exists"):
        open_inputs(job(cycle_data, tiny_base, tmp_path / "out"))
