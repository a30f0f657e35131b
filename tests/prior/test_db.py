"""Damaged, locked and foreign files."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from genrec_edge.errors import DatasetError, GenRecError, LockedError, UsageError
from genrec_edge.prior.db import ItemPrior
from genrec_edge.prior.update import update
from tests.support.faults import flipped_bit
from tests.support.priors import written

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_prior_that_is_written_to_is_locked(
    prior_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("genrec_edge.storage.sqlite.BUSY_TIMEOUT_S", 0.1)
    new = written(tmp_path / "new.csv", [("ann", 1, 9.0)])
    with closing(sqlite3.connect(prior_path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LockedError):
            ItemPrior.open(prior_path)
        with pytest.raises(LockedError):
            update(prior_path, new)
        connection.execute("ROLLBACK")
    assert update(prior_path, new).events == 1


DAMAGED_COEFFICIENTS = "UPDATE meta SET value = '{}' WHERE name = 'coefficients'"


DAMAGE = {
    "a view that never ends": "DROP TABLE transitions; CREATE VIEW transitions AS WITH RECURSIVE x(n) AS "
    "(SELECT 1 UNION ALL SELECT n FROM x) SELECT n AS source, n AS target, 1.0 AS weight FROM x",
    "a table more": "CREATE TABLE more(x)",
    "no items": "DELETE FROM items",
    "a gap in the items": "DELETE FROM items WHERE item = 3",
    "a count that is none": "UPDATE items SET n = 'many' WHERE item = 1",
    "a negative count": "UPDATE items SET n = -1 WHERE item = 1",
    "an id that is no text": "UPDATE items SET id = x'00' WHERE item = 1",
    "a title that is no text": "UPDATE items SET title = x'ff' WHERE item = 1",
    "a year that is none": "UPDATE items SET year = 'late' WHERE item = 1",
    "a transition into nothing": "UPDATE transitions SET target = 99 WHERE source = 0 AND target = 2",
    "a transition from a text": "UPDATE transitions SET source = 'x' WHERE source = 0 AND target = 2",
    "a weight that is none": "UPDATE transitions SET weight = 'x' WHERE source = 0",
    "a weight without end": "UPDATE transitions SET weight = 9e999 WHERE source = 0",
    "a negative weight": "UPDATE transitions SET weight = -1.0 WHERE source = 0",
    "no coefficients": "DELETE FROM meta WHERE name = 'coefficients'",
    "coefficients that are none": DAMAGED_COEFFICIENTS.format('{"weights": [1, 2], "log_floors": [1, 2]}'),
    "endless coefficients": DAMAGED_COEFFICIENTS.format('{"weights": [1, 2, 3, Infinity], "log_floors": [1, 2, 3, 4]}'),
    "no JSON": "UPDATE meta SET value = '{' WHERE name = 'split'",
    "deep JSON": f"UPDATE meta SET value = '{'[' * 100_000}' WHERE name = 'split'",
    "another rule": "UPDATE meta SET value = 'dice' WHERE name = 'ties'",
    "another program's file": "PRAGMA application_id = 7",
    "a newer format": "PRAGMA user_version = 2",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_prior_is_one_error(prior_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(prior_path)) as connection:
        connection.executescript(statement)
    with pytest.raises(DatasetError) as error:
        ItemPrior.open(prior_path)
    assert str(prior_path) in error.value.message
    assert error.value.hint


def said(ask: Callable[[], object]) -> str:
    """Return the message of our error, "" for none; anything else that is raised is a bug."""
    try:
        ask()
    except GenRecError as error:
        return error.message
    return ""


@pytest.mark.slow
def test_a_file_cut_off_anywhere_or_with_bits_changed_never_surprises(prior_path: Path, tmp_path: Path) -> None:
    whole = prior_path.read_bytes()
    rng = random.Random(7)
    path = tmp_path / "other.db"
    new = written(tmp_path / "new.csv", [("ann", 1, 9.0)])
    for _ in range(150):
        content = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 20)):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        for message in (said(lambda: ItemPrior.open(path)), said(lambda: update(path, new))):
            assert "\n" not in message
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def content(prior: ItemPrior) -> list[object]:
    """Return all that a prior says."""
    counts = prior.counts
    parts = (counts.events, counts.transitions.rows, counts.transitions.columns, counts.transitions.values)
    arrays = [array.tolist() for array in (*parts, counts.ease.items, counts.ease.inverse)]
    return [prior.card, prior.item_ids, prior.titles, *arrays]


@pytest.mark.slow
def test_each_flipped_bit_is_noticed_or_harmless(
    prior_path: Path, tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    new = written(tmp_path / "new.csv", [("user 1", 1, 9e9)])
    updated = Path(shutil.copy(prior_path, tmp_path / "updated.db"))
    update(updated, new)
    expected, expected_updated = content(ItemPrior.open(prior_path)), content(ItemPrior.open(updated))
    noticed = Counter[str]()
    for seed in range(trials(60, 2_000)):
        with flipped_bit(prior_path, random.Random(seed), used=True) as bit:
            try:
                assert content(ItemPrior.open(prior_path)) == expected, bit
            except GenRecError:
                noticed["opening"] += 1
            try:
                update(prior_path, new)
                assert content(ItemPrior.open(prior_path)) == expected_updated, bit
            except GenRecError:
                noticed["updating"] += 1
        prior_path.with_name(f"{prior_path.name}-journal").unlink(missing_ok=True)
    assert min(noticed.values()) > 10


def test_another_weight_is_noticed_and_a_prior_of_version_0_1_has_no_hash(prior_path: Path) -> None:
    with closing(sqlite3.connect(prior_path)) as connection, connection:
        connection.execute("UPDATE transitions SET weight = weight + 0.5 WHERE source = 0")
    with pytest.raises(DatasetError, match="it does not hold what was written"):
        ItemPrior.open(prior_path)
    with closing(sqlite3.connect(prior_path)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE name LIKE 'sha256%'")
    ItemPrior.open(prior_path)


def test_no_file_a_folder_and_a_text_are_no_priors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such prior"):
        ItemPrior.open(tmp_path / "none.db")
    with pytest.raises(UsageError, match="cannot read the prior"):
        ItemPrior.open(tmp_path)
    (tmp_path / "text.db").write_text("not this")
    with pytest.raises(DatasetError, match="is not a prior"):
        ItemPrior.open(tmp_path / "text.db")
