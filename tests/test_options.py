"""Options are declared once: what a field of an options record says is all that callers, commands and batches need."""

from __future__ import annotations

import inspect
import json
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from genrec_edge import Recommender
from genrec_edge.batch.runner import _asked
from genrec_edge.batch.users import read_users
from genrec_edge.cli.arguments import takes
from genrec_edge.cli.commands import in_options
from genrec_edge.errors import UsageError
from genrec_edge.option_fields import arguments_of, check_options, field_help, option
from genrec_edge.options import OpenOptions, Request

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class LongerRequest(Request):
    """A request with one option more: these lines are all that it takes."""

    _: KW_ONLY
    last_year: int | None = field(default=None, metadata=option("No item of a later year.", metavar="YEAR", least=1888))


def test_a_new_option_is_an_argument_of_the_call() -> None:
    class Caller:
        @arguments_of(LongerRequest)
        def recommend(self, request: LongerRequest) -> LongerRequest:
            return request

    assert Caller().recommend(["Alien"], last_year=1990) == LongerRequest(["Alien"], last_year=1990)
    assert "last_year" in inspect.signature(Caller.recommend).parameters


def test_a_new_option_is_an_option_of_the_command() -> None:
    app, got = typer.Typer(rich_markup_mode=None), []

    @app.command()
    @takes(LongerRequest, into="request")
    def ask(*, request: LongerRequest) -> None:
        got.append(request)

    done = CliRunner().invoke(app, ["--last-year", "1990", "--exclude", "Heat", "--context", "when=now"])
    assert done.exit_code == 0, done.output
    assert got == [LongerRequest(last_year=1990, exclude=("Heat",), context={"when": "now"})]
    assert "No item of a later year." in CliRunner().invoke(app, ["--help"]).output


def test_a_new_option_is_a_field_of_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user": 1, "last_year": 1990}\n{"user": 2}\n', encoding="utf-8")
    requests = [user.request for user in read_users(path, LongerRequest(k=3))]
    assert requests == [LongerRequest(k=3, last_year=1990), LongerRequest(k=3)]
    path.write_text('{"user": 1, "last_year": "late"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 1: last_year is 'late'"):
        list(read_users(path, LongerRequest()))


def test_a_new_option_is_checked() -> None:
    check_options(LongerRequest(last_year=1888))
    with pytest.raises(UsageError, match="`last_year` must be at least 1888, got 1887"):
        check_options(LongerRequest(last_year=1887))


def test_numbers_of_any_size_and_of_numpy_are_numbers() -> None:
    check_options(Request(k=10**400))
    check_options(Request(k=np.int64(3), min_rating=np.float32(2.5)))  # type: ignore[arg-type]


def test_a_new_option_does_not_end_the_jobs_of_the_version_before() -> None:
    assert _asked(LongerRequest(k=3)) == _asked(Request(k=3))
    assert _asked(LongerRequest(last_year=1990))["last_year"] == 1990


def test_every_option_says_what_it_means() -> None:
    for record in (Request, OpenOptions):
        assert all(len(text) > 8 and text.endswith((".", "4000.", "2048.")) for text in field_help(record).values())


@pytest.mark.parametrize("name", [f.name for f in fields(Request)])
def test_recommend_takes_every_field_of_a_request(name: str) -> None:
    assert name in inspect.signature(Recommender.recommend).parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"decode": "magic"}, "`decode` must be one of exact, beam, free, got 'magic'"),
        ({"temperature": float("inf")}, "`temperature` must be finite and at least 0, got inf"),
        ({"timeout_s": 1e12}, "`timeout_s` must be at most"),
        ({"timeout_s": "x"}, "`timeout_s` must be a number, got 'x'"),
        ({"temperature": None}, "`temperature` must be a number, got None"),
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_options(replace(Request(), **options))  # type: ignore[arg-type]
    assert caught.value.message.startswith(message)


def test_the_command_line_says_options_where_the_library_says_arguments() -> None:
    names = {"prior_weight": "--prior-weight", "n_ctx": "--ctx"}
    assert in_options("`prior_weight` and `n_ctx`, not `other`", names) == "--prior-weight and --ctx, not `other`"


def test_a_request_survives_json_lines_of_its_fields(tmp_path: Path) -> None:
    """What a batch may say of a user is what a request may say, but for what is the same for all users."""
    said = {"k": 3, "where": "year > 1", "exclude": ["a"], "candidates": ["b"], "allow_seen": True, "min_rating": 2.5}
    said |= {"bias": {"1": 0.5}, "preference": "p", "intent": "i", "intent_where": False, "context": {"when": "now"}}
    path = tmp_path / "users.jsonl"
    path.write_text(json.dumps({"user": "u", "history": ["Alien"], **said}) + "\n", encoding="utf-8")
    (user,) = read_users(path, Request())
    for name, value in said.items():
        assert getattr(user.request, name) == (tuple(value) if isinstance(value, list) else value)
