"""Downloading a data set with the real pip from the real package."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from genrec_edge.catalog.reader import Catalog
from genrec_edge.datasets.folder import load
from genrec_edge.datasets.pull import pull
from genrec_edge.errors import DatasetError, OfflineError, UsageError
from genrec_edge.storage.files import sha256_file
from tests.support.interactions import make, no_event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(recbole_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows pip the folder of the wheel and nothing else."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def bring(out: Path | None, *, offline: bool = False, force: bool = False) -> Path:
    return pull("ml-100k", out, offline=offline, force=force, on_event=no_event)


def test_a_pulled_data_set_says_what_it_is(ml_100k: Path, recbole_wheel: Path) -> None:
    assert {path.name for path in ml_100k.iterdir()} == {"card.json", "catalog.db", "interactions.csv"}
    assert (ml_100k.parent.name, ml_100k.name) == ("datasets", "ml-100k")
    assert {path.name for path in ml_100k.parent.iterdir()} == {"ml-100k"}
    card = json.loads((ml_100k / "card.json").read_text(encoding="utf-8"))
    assert (card["name"], card["licence"]) == ("ml-100k", "LicenseRef-GroupLens")
    assert "no redistribution without permission" in card["terms"]
    assert card["source"]["wheel_sha256"] == sha256_file(recbole_wheel)
    assert [file["bytes"] for file in card["source"]["files"]] == [1_979_230, 66_632]
    path = ml_100k / "interactions.csv"
    counts = {"events": 100_000, "users": 943, "items": 1682, "rated": 100_000, "left_out": 0}
    assert card["interactions"] == {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        **counts,
    }
    with Catalog.open(ml_100k / "catalog.db") as catalog:
        assert catalog.meta["licence"] == "LicenseRef-GroupLens"
        assert catalog.list_columns == ("genres", "director", "cast", "country", "language")
        twister = catalog.by_ids(["118"])["118"]
        assert (twister.title, twister.year) == ("Twister", 1996)
        assert twister.columns["director"] == "Jan de Bont"
        assert catalog.n_items == 1682


def test_a_data_set_that_is_there_is_kept_until_it_is_forced(
    ml_100k: Path, recbole_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ml_100k, out := tmp_path / "ml")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip would find nothing
    assert bring(out, offline=True) == out
    (out / "interactions.csv").write_text("damaged", encoding="utf-8")
    with pytest.raises(OfflineError, match=r"pip could not download recbole==1\.2\.1"):
        bring(out, force=True)
    with pytest.raises(DatasetError, match="has the sha256"):  # still the damaged one
        load(out)
    monkeypatch.setenv("PIP_FIND_LINKS", str(recbole_wheel.parent))
    bring(out, force=True)
    assert load(out).n_events == 100_000
    assert sha256_file(out / "interactions.csv") == sha256_file(ml_100k / "interactions.csv")
    assert {path.name for path in tmp_path.iterdir()} <= {"ml", "home"}


@pytest.mark.usefixtures("index")
def test_pull_refuses_before_it_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown data set 'ml-1m'") as caught:
        pull("ml-1m", None, offline=False, force=False, on_event=no_event)
    assert caught.value.hint == "known data sets: goodbooks, ml-100k, movietweetings"
    with pytest.raises(OfflineError, match="network is forbidden"):
        bring(tmp_path / "out", offline=True)
    monkeypatch.setenv("GENREC_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="network is forbidden"):
        bring(tmp_path / "out")
    monkeypatch.delenv("GENREC_EDGE_OFFLINE")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(UsageError, match="mine exists and is not a data set"):
            bring(tmp_path / "mine", force=force)
    with pytest.raises(UsageError, match="is the data set 'made'"):
        bring(make(tmp_path))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / "letter.txt").read_text(encoding="utf-8") == "Dear"


def test_another_wheel_of_that_name_is_not_believed(
    recbole_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    shutil.copy(recbole_wheel, wheel_path := links / "recbole-1.2.1-py3-none-any.whl")
    with zipfile.ZipFile(wheel_path, "a") as wheel:
        wheel.writestr("recbole/more.py", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    found = r"the wheel of recbole==1\.2\.1 that pip downloaded is not the one"
    with pytest.raises(DatasetError, match=found) as caught:
        bring(tmp_path / "out")
    assert "check the package index" in caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} <= {"links", "home"}
