"""A run that is killed and goes on, and a run in two processes, do what one undisturbed process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from genrec_edge.convert.training.job import TrainJob
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.recipe_reader import read_recipe
from genrec_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from genrec_edge.convert.training.trainer import TrainingResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]

RECIPE = """
checkpoint_every = 4
[data]
window = 8
[lora]
r = 8
dropout = {dropout}
[optimizer]
lr = 1e-2
warmup = 2
epochs = 2
batch = 6
micro_batch = 3
[validation]
users = 10
every = 1
"""
# Trains until step 7, three steps after the last state, and waits to be killed.
UNTIL_STEP_7 = """
import sys, time
from pathlib import Path
from genrec_edge.convert.training.recipe_reader import read_recipe
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.job import TrainJob
data, base, out, recipe, marker = sys.argv[1:]
def on_step(progress, total):
    if progress.step == 7:
        Path(marker).touch()
        time.sleep(600)
train(TrainJob(data, Path(base), Path(out), read_recipe(Path(recipe)), n_threads=1), on_step=on_step)
"""
# What starts several processes; without a GPU they are on the CPU, and talk through gloo.
LAUNCH = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"


@pytest.fixture
def job(cycle_data: Path, tiny_base: Path, tmp_path: Path) -> Callable[..., TrainJob]:
    """Returns a function that writes the recipe, and gives a job into a folder of that name."""

    def make(name: str, dropout: float) -> TrainJob:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(RECIPE.format(dropout=dropout))
        return TrainJob(str(cycle_data), tiny_base, tmp_path / name, read_recipe(recipe), n_threads=1)

    return make


def curve(trained: TrainingResult) -> list[float]:
    return [entry["loss"] for entry in trained.progress.log]


def test_a_resumed_run_gives_the_same_result_as_an_undisturbed_one(
    job: Callable[..., TrainJob], tmp_path: Path
) -> None:
    """With dropout, whose draws have to be the same, too."""
    plain = train(job("plain", 0.1))
    assert plain.progress.step > 8
    killed, marker = job("out", 0.1), tmp_path / "marker"
    arguments = map(str, (killed.data, killed.base, killed.out, tmp_path / "recipe.toml", marker))
    child = subprocess.Popen([sys.executable, "-c", UNTIL_STEP_7, *arguments], stderr=subprocess.PIPE)
    while not marker.exists():
        assert child.poll() is None, child.communicate()[1].decode()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not killed.out.exists()
    assert [path.name for path in (tmp_path / ".out.partial" / "states").iterdir()] == ["step-00000004"]
    with pytest.raises(UsageError, match=r"belongs to another job: recipe\.[\w., ]+ differ"):
        train(job("out", 0.2), resume=True)
    steps: list[int] = []
    resumed = train(killed, resume=True, on_step=lambda progress, _total: steps.append(progress.step))
    assert steps == list(range(5, plain.progress.step + 1))
    assert curve(resumed) == pytest.approx(curve(plain), rel=1e-6)
    assert resumed.progress.validations == plain.progress.validations
    weights, expected = (load_file(t.out / "adapter_model.safetensors") for t in (resumed, plain))
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)


def test_two_processes_do_what_one_does(job: Callable[..., TrainJob], tmp_path: Path) -> None:
    plain = train(job("plain", 0.0))
    parallel = job("out", 0.0)
    launch = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH.split(), "--no_python"]
    command = [sys.executable, "-c", "from genrec_edge.cli import main; main()", "train", "--json", "--threads", "1"]
    options = ["--data", parallel.data, "--base", parallel.base, "--out", parallel.out]
    options += ["--config", tmp_path / "recipe.toml"]
    done = subprocess.run(
        [*launch, *command, *map(str, options)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == plain.progress.step  # one object, though there were two processes
    assert json.loads((parallel.out / "run.json").read_text())["processes"] == 2
    log = [json.loads(line) for line in (parallel.out / "log.jsonl").read_text().splitlines()]
    assert [entry["loss"] for entry in log] == pytest.approx(curve(plain), rel=1e-4)
    # Adam does not mind how long a gradient is, and would hide a sum where a mean is meant.
    assert [entry["norm"] for entry in log] == pytest.approx([e["norm"] for e in plain.progress.log], rel=1e-2)
    weights, expected = (load_file(out / "adapter_model.safetensors") for out in (parallel.out, plain.out))
    assert {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in expected.items()}
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=1e-3)
