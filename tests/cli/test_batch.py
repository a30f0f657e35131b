"""`genrec-edge batch`: what is refused before any work, and what is printed at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import assert_one_line, process

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


@pytest.fixture
def users_command(tmp_path: Path, tiny_llama: Path, tricky_path: Path) -> list[str]:
    """Returns the command without its output, for two users of whom one likes only an unknown film."""
    rows = [{"user": 1, "history": ["Alien"]}, {"user": 2, "history": ["no such film"]}]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    setup = ["--model", str(tiny_llama), "--catalog", str(tricky_path), "-k", "1", "--workers", "1", "--threads", "1"]
    return ["batch", str(tmp_path / "users.jsonl"), *setup]


@pytest.mark.slow
def test_what_cannot_be_written_is_refused(users_command: list[str], tmp_path: Path) -> None:
    wrong = str(tmp_path / "out.csv")
    assert_one_line([*users_command, "--out", wrong], "out.csv does not have the name of an output file")
    assert_one_line([*users_command, "--out", users_command[1]], "would be written over what is read")
    (tmp_path / "link.jsonl").symlink_to(users_command[1])
    (tmp_path / "hard.jsonl").hardlink_to(users_command[1])
    for name in ("link.jsonl", "hard.jsonl"):
        assert_one_line([*users_command, "--out", str(tmp_path / name), "--force"], "over what is read")
        (tmp_path / name).unlink()
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["users.jsonl"]


def test_an_address_is_for_ray(users_command: list[str], tmp_path: Path) -> None:
    arguments = [*users_command, "--out", str(tmp_path / "out.jsonl"), "--address", "127.0.0.1:1"]
    assert_one_line(arguments, "--address names a Ray cluster")


@pytest.mark.slow
def test_rows_with_an_error_are_counted(users_command: list[str], tmp_path: Path) -> None:
    out_path = tmp_path / "out.jsonl"
    done = process([*users_command, "--out", str(out_path)])
    assert (done.returncode, done.stdout) == (3, f"{out_path}: 1 of 2 users answered\n")
    assert done.stderr.splitlines()[-1] == "rows with an error instead of items: 1"
    quiet = process([*users_command, "--out", str(out_path), "--force", "--quiet"])
    assert (quiet.returncode, quiet.stderr) == (3, "")
