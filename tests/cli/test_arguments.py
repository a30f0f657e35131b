"""Options of a command out of the fields of a record: lists, NAME=WORDS, switches, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - the fields' types are read
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from genrec_edge.cli.arguments import takes
from genrec_edge.errors import UsageError
from genrec_edge.option_fields import option

if TYPE_CHECKING:
    from typer.testing import Result


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record with a field of each kind."""

    titles: Sequence[str] = field(default=(), metadata=option("Titles.", flag="--title -t"))
    context: Mapping[str, str] = field(default_factory=dict, metadata=option("When.", metavar="NAME=WORDS"))
    is_exact: bool = field(default=True, metadata=option("Exact.", flag="--exact"))
    most_items: int | None = field(default=None, metadata=option("How many."))
    hidden: int = field(default=7, metadata=option("Not on the command line.", flag=None))


GOT: list[tuple[Wanted, str, int]] = []
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@takes(Wanted, into="wanted")
def ask(name: str, *, wanted: Wanted, last: int = 0) -> None:
    GOT.append((wanted, name, last))


def call(*arguments: str) -> Result:
    GOT.clear()
    return CliRunner().invoke(app, arguments)


def wanted(*arguments: str) -> Wanted:
    result = call("ann", *arguments)
    assert result.exit_code == 0, result.output
    ((record, name, _),) = GOT
    assert name == "ann"
    return record


def test_what_is_not_given_has_the_default_of_the_field() -> None:
    assert wanted() == Wanted()
    assert wanted("--last", "3") == Wanted()
    assert GOT[0][2] == 3


def test_a_list_option_is_repeated() -> None:
    assert wanted("--title", "Heat", "-t", "Alien").titles == ("Heat", "Alien")


def test_names_and_words_become_a_mapping() -> None:
    assert wanted("--context", "when=tonight", "--context", " who =a=b").context == {"when": "tonight", "who": "a=b"}


@pytest.mark.parametrize("entry", ["tonight", "=tonight", "when=", "when= "])
def test_a_context_without_a_name_or_words_is_refused(entry: str) -> None:
    error = call("ann", "--context", entry).exception
    assert isinstance(error, UsageError)
    assert error.message == f"the context {entry!r} is not NAME=WORDS"
    assert GOT == []


def test_a_switch_that_is_on_can_be_turned_off() -> None:
    assert not wanted("--no-exact").is_exact
    assert wanted("--exact").is_exact


def test_a_number_is_read_by_the_type_of_its_field() -> None:
    assert wanted("--most-items", "3").most_items == 3
    assert call("ann", "--most-items", "many").exit_code == 2


def test_options_come_in_the_order_of_the_fields_before_those_of_the_command() -> None:
    shown = call("--help").output
    places = [shown.index(name) for name in ("--title", "--context", "--exact", "--most-items", "--last")]
    assert places == sorted(places)
    assert "--hidden" not in shown


def test_only_the_named_fields_become_options() -> None:
    few = typer.Typer(add_completion=False)

    @few.command()
    @takes(Wanted, "most_items titles", into="wanted")
    def ask_few(*, wanted: Wanted) -> None:
        GOT.append((wanted, "", 0))

    GOT.clear()
    assert CliRunner().invoke(few, ["--most-items", "2"]).exit_code == 0
    ((record, _, _),) = GOT
    assert record == Wanted(most_items=2)
    assert CliRunner().invoke(few, ["--no-exact"]).exit_code == 2
