"""The tables of docs/cli.md are those that docs/generate_cli.py makes of the commands."""

from __future__ import annotations

import pytest

from docs.generate_cli import CLI_PATH, commands, differences, main, options_table, with_tables


def test_the_tables_are_what_the_commands_say() -> None:
    assert differences(CLI_PATH.read_text(encoding="utf-8")) == "", "run: python docs/generate_cli.py"


def test_an_option_that_changed_would_be_seen() -> None:
    text = CLI_PATH.read_text(encoding="utf-8")
    row = "| `--where SQL` |"
    assert text.count(row) >= 1
    found = differences(text.replace(row, "| `--filter SQL` |", 1))
    assert "-| `--filter SQL` |" in found
    assert "+| `--where SQL` |" in found


@pytest.mark.slow
def test_prose_stays_and_is_no_difference() -> None:
    title = "# The command line\n"
    text = CLI_PATH.read_text(encoding="utf-8").replace(title, f"{title}\nMore prose.\n", 1)
    assert differences(text) == ""
    assert with_tables(text) == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- options: judge -->", "<!-- judge -->", "<!-- options: judge --> ... <!-- end --> is missing"),
        ("<!-- options: judge -->", "<!-- options: judges -->", "no command for <!-- options: judges -->"),
        ("<!-- options: judge -->", "<!-- options: compare -->", "<!-- options: compare --> is there twice"),
    ],
)
def test_every_command_has_one_table(old: str, new: str, message: str) -> None:
    text = CLI_PATH.read_text(encoding="utf-8")
    assert text.count(old) == 1
    with pytest.raises(ValueError, match=message):
        with_tables(text.replace(old, new))


def test_an_option_of_several_commands_is_described_once() -> None:
    by_name = commands()
    assert "| `--where SQL` |" in options_table("recommend", by_name)
    batch = options_table("batch", by_name)
    assert "| `--where SQL` |" not in batch
    assert "As for [`recommend`](#recommend): " in batch
    assert "`--where`" in batch


def test_the_check_says_what_to_do(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setattr("docs.generate_cli.differences", lambda _: "-old\n+new")
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == "-old\n+new\nrun: python docs/generate_cli.py\n"
