"""Files of version 0.1 still open: taken as they are, or made again without loss; see `data/v0.1/README.md`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from genrec_edge import __version__
from genrec_edge.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typer.testing import Result

FIXTURES = Path(__file__).parent / "data" / "v0.1"
EXPECTED = FIXTURES / "expected"
MAIN = "from genrec_edge.cli import main; main()"
TOLERANCE = 0.01
"""Nats: llama.cpp adds up in another order on other machines."""
LOSS_TOLERANCE = 0.1
"""Relative: since then windows of a batch are sorted by their length, so dropout leaves out other places."""
RANK_TOLERANCE = 0.04
"""Of NDCG@10: one of the eight users finds the item at place 10 or not."""
KV_MAGIC = b"genrec-edge kv\n"
ANSWERS: list[dict[str, Any]] = json.loads((EXPECTED / "answers.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Place:
    """The files of the version before, where its user would have them; index and prompts are put there by tests."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def catalog(self) -> Path:
        return self.folder / "tricky.db"

    @property
    def prior(self) -> Path:
        return self.folder / "made.prior"

    @property
    def model(self) -> Path:
        (path,) = (self.home / "models" / "tiny").glob("*.gguf")
        return path

    def words(self, arguments: Iterable[str]) -> list[str]:
        """Return the words of a command; what the default was for the version before is said."""
        words = [word.format(catalog=self.catalog, prior=self.prior) for word in arguments]
        if words[0] == "recommend" and "--prior" not in words:
            words += ["--prior", "sequence" if "--prior-file" in words else "none"]
        return words

    def put_index(self, name: str) -> Path:
        """Put a title index where the version before looked for that of this catalog file; return its folder."""
        source = FIXTURES / "index" / name
        fingerprint = json.loads((source / "key.json").read_text(encoding="utf-8"))["tokenizer"]
        digest = hashlib.sha256(f"{self.catalog.resolve()}\n{fingerprint}".encode()).hexdigest()[:16]
        trie = self.home / "cache" / "indexes" / f"tricky-{digest}" / "trie"
        shutil.copytree(source, trie)
        for habits in (FIXTURES / "index").glob("habits-*.npz"):
            shutil.copy2(habits, trie.parent)
        return trie

    def indexes(self) -> list[Path]:
        return sorted((self.home / "cache" / "indexes").glob("tricky-*/trie"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Copies the files into folders of this test, and lets the command line see no others."""
    for variable in [name for name in os.environ if name.startswith("GENREC_EDGE_")]:
        monkeypatch.delenv(variable)
    place = Place(tmp_path)
    monkeypatch.setenv("GENREC_EDGE_HOME", str(place.home))
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", "0")
    shutil.copytree(FIXTURES / "models", place.home / "models")
    shutil.copytree(FIXTURES / "dataset", place.home / "datasets")
    shutil.copy2(FIXTURES / "profiles" / "profiles.db", place.home / "profiles.db")
    shutil.copy2(FIXTURES / "catalog" / "tricky.db", place.catalog)
    shutil.copy2(FIXTURES / "prior" / "made.prior", place.prior)
    return place


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(*arguments: object, exits: int = 0) -> dict[str, Any]:
    """Run a command with --json that ends with this exit code, and return what it prints."""
    result = call(*arguments, "--json")
    assert result.exit_code == exits, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def asked(place: Place, entry: dict[str, Any]) -> dict[str, Any]:
    """Ask what was asked of the version before, and compare the answer; return it."""
    answer = document(*place.words(entry["arguments"]), exits=entry["exit"])
    assert_like(answer, entry["answer"], "answer")
    return answer


def recommendation(*words: str) -> dict[str, Any]:
    """Return the first recommendation that was asked with these words."""
    return next(e for e in ANSWERS if e["arguments"][0] == "recommend" and set(words) <= set(e["arguments"]))


def assert_like(found: Any, expected: Any, where: str) -> None:
    """Compare answers; there may be more in `found`, and numbers may be a little off."""
    if isinstance(expected, dict):
        assert expected.keys() <= found.keys(), where
        for name, value in expected.items():
            assert_like(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict) and "score" in expected[0]:
        assert_same_items(found, expected, where)
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for n, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_like(a, b, f"{where}[{n}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=TOLERANCE), where
    else:
        assert found == expected, where


def assert_same_items(found: list[dict[str, Any]], expected: list[dict[str, Any]], where: str) -> None:
    """Compare scored items: all are the same, but that two which are as good as level may have changed places."""
    assert [item["rank"] for item in found] == [item["rank"] for item in expected], where
    scores = [item["score"] for item in expected]
    assert [item["score"] for item in found] == pytest.approx(scores, abs=TOLERANCE), where
    by_id = {item["id"]: item for item in found}
    for item in expected:
        if item["id"] in by_id or item["score"] > scores[-1] + 2 * TOLERANCE:
            kept = {name: value for name, value in item.items() if name != "rank"}
            assert_like(by_id[item["id"]], kept, f"{where}, {item['title']}")


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes with every file below a folder that is written anew."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(paths)}


def arrays(folder: Path) -> dict[str, list[int]]:
    return {path.name: np.load(path).tolist() for path in sorted(folder.glob("*.npy"))}


def versions() -> dict[str, str]:
    return {"genrec-edge": __version__, "llama-cpp-python": importlib.metadata.version("llama-cpp-python")}


@pytest.mark.slow
@pytest.mark.parametrize("n", range(len(ANSWERS)), ids=[" ".join(e["arguments"])[:60] for e in ANSWERS])
def test_the_answers_are_the_same(n: int, place: Place) -> None:
    place.put_index("current")
    asked(place, ANSWERS[n])


# ---- title index, habits and prompts


def test_the_title_index_is_used_as_it_is(place: Place) -> None:
    trie = place.put_index("current")
    before = states(trie)
    asked(place, recommendation("-k", "8"))
    assert place.indexes() == [trie]
    assert states(trie) == before


def test_an_older_title_index_follows_the_changes_of_the_catalog(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    trie = place.put_index("older")
    caplog.set_level(logging.INFO, "genrec_edge")
    asked(place, recommendation("-k", "8"))
    assert place.indexes() == [trie]
    assert arrays(trie) == arrays(FIXTURES / "index" / "current")
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "title index" in line and "up to date" in line], said
    assert not [line for line in said if "building the title index" in line], said


def test_without_its_index_a_catalog_gets_the_same_one(place: Place) -> None:
    asked(place, recommendation("-k", "8"))
    (trie,) = place.indexes()
    assert arrays(trie) == arrays(FIXTURES / "index" / "current")


def test_what_the_model_thinks_of_all_titles_is_not_computed_again(place: Place) -> None:
    folder = place.put_index("current").parent
    before = states(folder)
    assert [name for name in before if name.endswith(".npz")]
    asked(place, recommendation("--calibrate"))
    assert states(folder) == before


def put_prompts(place: Place) -> tuple[Path, dict[str, Any]]:
    """Put the kept prompts in their place; return the folder and the key that they have in common."""
    folder = place.home / "cache" / "prompts"
    shutil.copytree(FIXTURES / "prompts", folder)
    keys = []
    for path in folder.glob("*.kv"):
        data, start = path.read_bytes(), len(KV_MAGIC)
        n_bytes = int.from_bytes(data[start : start + 4], "little")
        keys.append(json.loads(data[start + 4 : start + 4 + n_bytes])["key"])
    assert len(keys) == 2
    assert keys[0] == keys[1]
    return folder, keys[0]


@pytest.mark.parametrize("word", ["Alien", "Casablanca"])
def test_kept_prompts_are_used(word: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", "1")
    folder, key = put_prompts(place)
    before = states(folder)
    os.utime(place.model, ns=(key["changed"], key["changed"]))  # the key holds it, and git does not
    timings = asked(place, recommendation(word, "-k", "8"))["timings"]
    if key["llama_cpp_python"] == versions()["llama-cpp-python"]:
        assert timings["reused_tokens"] == timings["prompt_tokens"] - 1  # the last one is evaluated for its logits
        assert states(folder).keys() == before.keys()
    else:
        assert timings["reused_tokens"] == 0


def test_kept_prompts_of_a_model_that_was_copied_are_evaluated_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENREC_EDGE_KEEP_PROMPTS", "1")
    put_prompts(place)
    os.utime(place.model, ns=(1, 1))
    timings = asked(place, recommendation("Alien", "-k", "8"))["timings"]
    assert timings["reused_tokens"] == 0


# ---- what was made is added to


@pytest.mark.slow
def test_a_catalog_takes_more_items_and_its_index_follows(place: Place) -> None:
    trie = place.put_index("current")
    before = document("catalog", "info", "--catalog", place.catalog)
    options = ("--id", "200", "--year", 1968, "--set", "genres=Crime|Thriller", "--catalog", place.catalog)
    document("catalog", "add", "--title", "Bullitt", *options)
    after = document("catalog", "info", "--catalog", place.catalog)
    assert after["items"] == before["items"] + 1
    assert after["revision"] != before["revision"]
    only = ("--candidate", "Bullitt", "-k", 1, "--model", "tiny", "--catalog", place.catalog, "--threads", 1)
    (item,) = document("recommend", "-H", "Alien", *only)["items"]
    assert (item["id"], item["columns"]["genres"]) == ("200", "Crime, Thriller")
    assert place.indexes() == [trie]
    assert len(arrays(trie)["rows.npy"]) == after["items"]
    document("catalog", "remove", "200", "--catalog", place.catalog)
    asked(place, recommendation("-k", "8") | {"answer": {"items": recommendation("-k", "8")["answer"]["items"]}})
    assert arrays(trie) == arrays(FIXTURES / "index" / "current")


def test_a_prior_takes_more_events(place: Place) -> None:
    added = document("prior", "update", "--prior", place.prior, "--interactions", FIXTURES / "prior" / "later.csv")
    assert (added["events"], added["users"], added["new_users"]) == (5, 2, 1)
    asked(place, json.loads((EXPECTED / "updated_prior.json").read_text(encoding="utf-8")))


def test_a_prior_is_counted_as_it_was(place: Place) -> None:
    document("prior", "build", "--data", "made", "--split", "all", "--out", place.prior, "--force")
    asked(place, recommendation("--prior-file", "50"))


@pytest.mark.slow
def test_profiles_take_more_events_on_top_of_their_summaries(place: Place) -> None:
    for entry in json.loads((EXPECTED / "updated_profiles.json").read_text(encoding="utf-8")):
        asked(place, entry)
    forgotten = document("profile", "forget", "ann")
    assert forgotten["events"] == 17
    assert call("profile", "show", "ann").exit_code == 2


# ---- a job that was killed


def put_job(place: Place, **changed: str) -> Path:
    """Put the parts of a killed job beside its output, of these versions; return the path of the output."""
    shutil.copy2(FIXTURES / "batch" / "users.jsonl", place.folder / "users.jsonl")
    out_path = place.folder / "out.jsonl"
    parts = place.folder / "out.jsonl.parts"
    shutil.copytree(FIXTURES / "batch" / "out.jsonl.parts", parts)
    key = json.loads((parts / "key.json").read_text(encoding="utf-8"))
    key["versions"] = versions() | changed
    (parts / "key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    return out_path


def batch(place: Place, out_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the job in a process of its own: its workers are spawned. The version before asked the model alone."""
    more = ("--prior", "none", *more)
    options = ["--model", "tiny", "--catalog", str(place.catalog), "-k", "5", "--workers", "1", "--threads", "1"]
    argv = ["batch", str(place.folder / "users.jsonl"), "--out", str(out_path), *options, *more]
    return subprocess.run([sys.executable, "-c", MAIN, *argv], capture_output=True, text=True, check=False)


def assert_the_rows_are_those_of_one_go(out_path: Path) -> None:
    found, expected = (path.read_text(encoding="utf-8").splitlines() for path in (out_path, EXPECTED / "batch.jsonl"))
    assert len(found) == len(expected) == 40
    for n, (line, other) in enumerate(zip(found, expected, strict=True)):
        assert_like(json.loads(line), json.loads(other), f"row {n}")


@pytest.mark.slow
def test_a_killed_job_goes_on_where_it_was(place: Place) -> None:
    out_path = put_job(place)
    done = batch(place, out_path, "--json")
    assert done.returncode == 3, done.stderr  # two users have no answer
    summary = json.loads(done.stdout)
    assert (summary["users"], summary["failed"], summary["resumed"]) == (40, 2, 16)
    part = (FIXTURES / "batch" / "out.jsonl.parts" / "00000000.jsonl").read_bytes()
    assert out_path.read_bytes().startswith(part)
    assert_the_rows_are_those_of_one_go(out_path)
    assert not out_path.with_name("out.jsonl.parts").exists()


@pytest.mark.slow
def test_a_job_of_another_version_is_refused_and_begun_anew_only_with_force(place: Place) -> None:
    out_path = put_job(place, **{"genrec-edge": "0.0.1"})
    before = states(out_path.with_name("out.jsonl.parts"))
    done = batch(place, out_path)
    assert done.returncode == 2, done.stderr
    assert "belongs to another job: versions.genrec-edge differ" in done.stderr
    assert states(out_path.with_name("out.jsonl.parts")) == before
    done = batch(place, out_path, "--force", "--json")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["resumed"] == 0
    assert_the_rows_are_those_of_one_go(out_path)


# ---- a training that was killed


def put_training(place: Place) -> Path:
    """Put a base, a recipe and what a killed run left in their places; return the hidden folder of the run."""
    for name in ("base.gguf", "recipe.toml"):
        shutil.copy2(FIXTURES / "training" / name, place.folder / name)
    partial = place.folder / ".out.partial"
    shutil.copytree(FIXTURES / "training" / "partial", partial)
    return partial


def as_if_begun_here(place: Place, partial: Path) -> None:
    """Have the record of a run say that it was begun by this version, with the base that lies here.

    It names the base by path, size and time of change, which are others wherever the files are copied to.
    """
    job = json.loads((partial / "job.json").read_text(encoding="utf-8"))
    base = place.folder / "base.gguf"
    assert [entry[1] for entry in job["base"]] == [base.stat().st_size]
    job["base"] = [[str(base.resolve()), base.stat().st_size, base.stat().st_mtime_ns]]
    job["tool_version"] = versions()["genrec-edge"]
    (partial / "job.json").write_text(json.dumps(job, indent=2, sort_keys=True), encoding="utf-8")


def resumed(place: Place) -> Result:
    options = ("--data", "made", "--base", place.folder / "base.gguf", "--config", place.folder / "recipe.toml")
    return call("train", *options, "--threads", 1, "--out", place.folder / "out", "--resume", "--quiet", "--json")


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was(place: Place) -> None:
    partial = put_training(place)
    as_if_begun_here(place, partial)
    (state,) = (partial / "states").iterdir()
    before = json.loads((state / "progress.json").read_text(encoding="utf-8"))["progress"]
    best = (partial / "looks" / "8" / "adapter_model.safetensors").read_bytes()
    result = resumed(place)
    assert result.exit_code == 0, result.output
    expected = json.loads((EXPECTED / "training.json").read_text(encoding="utf-8"))
    found = json.loads(result.stdout)
    assert (found["steps"], found["events"], found["stopped_early"]) == (22, expected["events"], False)
    assert found["looks"][0] == before["looks"][0]
    assert [look["step"] for look in found["looks"]] == [look["step"] for look in expected["looks"]]
    quality = [look["ndcg@10"] for look in expected["looks"]]
    assert [look["ndcg@10"] for look in found["looks"]] == pytest.approx(quality, abs=RANK_TOLERANCE)
    out = place.folder / "out"
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert before["step"] == len(before["log"]) == 9
    assert log[:9] == before["log"]  # the seconds of each step, too: these were not done again
    assert len(log) == len(expected["log"])
    for entry, other in zip(log, expected["log"], strict=True):
        assert [entry[name] for name in ("step", "events", "lr")] == [other[name] for name in ("step", "events", "lr")]
        losses = [[of[name] for name in ("loss", "nats", "norm")] for of in (entry, other)]
        assert losses[0] == pytest.approx(losses[1], rel=LOSS_TOLERANCE)
    # The best adapter is the one of step 8, which the killed run had written.
    assert (out / "adapter_model.safetensors").read_bytes() == best
    assert_like(json.loads((out / "genrec_edge.json").read_text(encoding="utf-8")), expected["record"], "record")
    assert not partial.exists()


def test_a_training_that_was_moved_is_refused_and_kept(place: Place) -> None:
    partial = put_training(place)
    before = states(partial)
    result = resumed(place)
    assert result.exit_code == 2
    assert "belongs to another job: base" in result.stdout  # "base", or "base, tool_version" after a later version
    assert states(partial) == before
