"""The progress of work that goes through users, where no terminal is: a line for each part that is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrec_edge.cli.users_bar import users_bar

if TYPE_CHECKING:
    import pytest


def test_a_part_has_a_line_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with users_bar(2, quiet=False) as on_user:
        on_user("answering\x1b[2J", 1, 2000)
        assert capsys.readouterr().err == ""
        on_user("answering\x1b[2J", 2000, 2000)
        on_user("writing", 2000, 2000)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == ["writing: 2,000 of 2,000 users"]
    assert err.splitlines()[0].endswith(": 2,000 of 2,000 users")
    assert "\x1b" not in err


def test_quiet_means_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with users_bar(1, quiet=True) as on_user:
        on_user("answering", 2, 2)
    assert capsys.readouterr().err == ""
