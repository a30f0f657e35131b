"""`genrec-edge train` as a user runs it: the plan, the exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genrec_edge.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

pytestmark = pytest.mark.usefixtures("own_home")

RECIPE = """
[data]
window = 8
[lora]
r = 4
[optimizer]
epochs = 0.2
[validation]
users = 3
"""


@pytest.fixture
def run(cycle_data: Path, tiny_llama: Path, tmp_path: Path) -> Callable[..., Result]:
    """Returns a function that trains, with other values of options or more of them; None leaves one out."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")

    def invoke(*flags: str, **options: object) -> Result:
        given = {"data": cycle_data, "base": tiny_llama, "out": tmp_path / "out", "config": recipe, "threads": 1}
        words = [f"--{name}={value}" for name, value in (given | options).items() if value is not None]
        return CliRunner().invoke(app, ["train", *words, *flags])

    return invoke


def assert_one_line(result: Result, exit_code: int, *said: str) -> None:
    assert result.exit_code == exit_code, result.output
    line, *hint = result.stderr.strip().splitlines()
    assert len(hint) <= 1
    for part in said:
        assert part in line, line
    assert result.stdout == ""


@pytest.mark.slow
def test_a_run_prints_its_looks_and_its_folder(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path / "out")
    assert "NDCG@10" in result.stdout
    assert result.stderr.startswith("memory about")
    assert "nats a title" in result.stderr
    assert f"genrec-edge convert --base {tmp_path}" not in result.stderr
    assert f"--adapter {tmp_path / 'out'}" in result.stderr
    assert "Warning" not in result.stderr


@pytest.mark.slow
def test_json_and_quiet(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("--json", "--quiet")
    document = json.loads(result.stdout)
    assert document["schema"] == "genrec-edge/train@1"
    assert document["out"] == str(tmp_path / "out")
    assert document["steps"] > 0
    assert document["looks"][-1].keys() >= {"step", "events", "hr@10", "ndcg@10"}
    assert result.stderr == ""


def test_the_plan_is_printed_and_nothing_is_made(run: Callable[..., Result], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    needs = json.loads(run("--dry-run", "--json").stdout)["memory_bytes"]
    assert needs["total"] == sum(value for name, value in needs.items() if name != "total")
    assert needs.keys() >= {"weights", "adapter", "activations", "logits"}
    assert run("--dry-run").stdout.startswith("memory about")
    home = tmp_path / "home"  # what was found right of a catalog is remembered in its cache
    assert sorted(path for path in tmp_path.iterdir() if path != home) == before


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_what_cannot_be_trained_is_one_line(
    flags: tuple[str, ...], run: Callable[..., Result], cycle_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    empty = tmp_path / "empty.gguf"
    empty.write_bytes(b"GGUF")
    config = {"config": tmp_path / "bad.toml"}
    (tmp_path / "bad.toml").write_text("x = 1\n[optimizer]\nbatch = 5\nmicro_batch = 2\n", encoding="utf-8")
    assert_one_line(run(*flags, data="nowhere"), 2, "nowhere")
    assert_one_line(run(*flags, data=tmp_path), 2, "is not a data set")
    damaged = Path(shutil.copytree(cycle_data, tmp_path / "damaged"))
    (damaged / "interactions.csv").write_text("user,item,timestamp,rating\n", encoding="utf-8")
    assert_one_line(run(*flags, data=damaged), 16, "interactions.csv")
    assert_one_line(run(*flags, base=tmp_path / "no.gguf"), 2, "does not exist", "no.gguf")
    assert_one_line(run(*flags, base=empty), 5, "empty.gguf")
    assert_one_line(run(*flags, out=tmp_path / "full"), 2, "full exists")
    assert_one_line(run(*flags, recipe="genrec"), 2, "--config and --recipe")
    assert_one_line(run(*flags, recipe="mine", config=None), 2, "there is no recipe 'mine'")
    assert_one_line(run(*flags, config=tmp_path / "no.toml"), 2, "no.toml")
    assert_one_line(run(*flags, **config), 2, "unknown key 'x'")
    (tmp_path / "bad.toml").write_text("[optimizer]\nbatch = 5\nmicro_batch = 2\n", encoding="utf-8")
    assert_one_line(run(*flags, **config), 2, "optimizer.batch = 5 is not a multiple of optimizer.micro_batch = 2")
    (tmp_path / "bad.toml").write_text('[base]\nlayers = "0-7"\n', encoding="utf-8")
    assert_one_line(run(*flags, **config), 2, "layer 7")
    (tmp_path / "bad.toml").write_text('[lora]\nwhole = ["norm", "wo"]\n', encoding="utf-8")
    assert_one_line(run(*flags, **config), 2, "lora.whole: ", "has no modules called wo")
    assert not (tmp_path / "out").exists()


def test_a_base_of_another_architecture_is_refused(
    run: Callable[..., Result], tiny_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    assert_one_line(run(base=tiny_gguf(tmp_path / "gpt.gguf", architecture="gpt2")), 5, "gpt2")


@pytest.mark.slow
def test_four_bits_need_their_library(run: Callable[..., Result], tmp_path: Path) -> None:
    config = tmp_path / "four.toml"
    config.write_text("[base]\nload_in_4bit = true\n", encoding="utf-8")
    assert_one_line(run("--quiet", config=config), 13, "bitsandbytes, which is not installed")


def test_an_error_is_an_object_where_json_is_wanted(run: Callable[..., Result]) -> None:
    result = run("--json", data="nowhere")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "usage")


@pytest.mark.slow
def test_a_folder_that_another_run_began_is_begun_anew_without_resume(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "job.json").write_text("{}", encoding="utf-8")
    (partial / "left over").touch()
    assert_one_line(run("--resume", "--quiet"), 2, "belongs to another job")
    assert run("--quiet").exit_code == 0
    assert not (tmp_path / "out" / "left over").exists()


@pytest.mark.slow
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['peft'] = None\nfrom genrec_edge.cli import main\n"
        "sys.argv = ['genrec-edge', 'train', '--data=x', '--base=y', '--out=z']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 13, done.stderr
    assert "pip install 'genrec-edge[train]'" in done.stderr


# Three steps, and how much memory the process has had at most.
MEASURED = """
import resource, sys
from pathlib import Path
from genrec_edge.convert.training.recipe_reader import read_recipe
from genrec_edge.convert.training.loop import train
from genrec_edge.convert.training.job import TrainJob
data, base, out, recipe = sys.argv[1:]
def on_step(progress, total):
    if progress.step == 3:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
        raise KeyboardInterrupt
train(TrainJob(data, Path(base), Path(out), read_recipe(Path(recipe)), n_threads=1), on_step=on_step)
"""


@pytest.mark.model
@pytest.mark.parametrize("kind", ["catalog", "vocabulary"])
def test_the_plan_is_not_far_from_what_is_taken(
    kind: str, run: Callable[..., Result], smollm2: Path, ml_100k: Path, tmp_path: Path
) -> None:
    """Five layers of the real model, as the default recipe trains it."""
    config = tmp_path / "five.toml"
    config.write_text(f'[objective]\nkind = "{kind}"\n[base]\nlayers = "0-3,29"\n', encoding="utf-8")
    options: dict[str, Any] = {"data": ml_100k, "base": smollm2, "config": config}
    planned = json.loads(run("--dry-run", "--json", **options).stdout)
    assert planned["device"] == "host"
    arguments = [ml_100k, smollm2, tmp_path / "out", config]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    unit = 1 if sys.platform == "darwin" else 1024
    taken = int(done.stdout) * unit
    assert taken / 1.5 < planned["memory_bytes"]["total"] < taken * 1.5
