"""`genrec-edge verdicts`: figures as JSON and as a table, the line in a record, and the diagram."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import assert_one_line, run
from tests.support.interactions import make

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("offline_home")


def test_a_folder_without_a_record_is_refused(facts_data: Path, tiny_llama: Path, tmp_path: Path) -> None:
    arguments = ["verdicts", "--data", str(facts_data), "--model", str(tiny_llama), "--record", str(tmp_path)]
    assert_one_line(arguments, f"{tmp_path} has no genrec_edge.json")


@pytest.mark.model
def test_the_line_goes_into_a_record(smollm2: Path, facts_data: Path, tmp_path: Path) -> None:
    record = tmp_path / "genrec_edge.json"
    record.write_text('{"score_kind": "catalog"}', encoding="utf-8")
    arguments = ["verdicts", "--data", str(facts_data), "--model", str(smollm2), "--users", "20", "-q"]
    asked_for = ["--record", str(tmp_path), "--plot", str(tmp_path / "r.png"), "--json"]
    result = run(*arguments, *asked_for)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    written = json.loads(record.read_text(encoding="utf-8"))
    assert (written["judge_slope"], written["judge_offset"]) == (document["slope"], document["offset"])
    assert written["score_kind"] == "catalog"
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    table = run(*arguments)
    assert "calibration error" in table.stdout
    assert run(*arguments, "--record", str(facts_data)).exit_code == 2


@pytest.mark.slow
def test_what_to_do_without_validation_items_names_no_option_of_other_commands(
    tiny_llama: Path, tmp_path: Path
) -> None:
    events = "user,item,timestamp\nx,a,1\nx,b,2\nx,b,3\nx,c,4\n"  # the item before the last one had been met before
    data = make(tmp_path, events, "id,title\na,Alien\nb,Brazil\nc,Casablanca\nd,Dumbo\n")
    result = run("verdicts", "--data", str(data), "--model", str(tiny_llama), "--threads", "1", "-q")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: no user of made has a validation item: too few events, or one they had met before; "
        "name data whose users meet at least three different items\n"
    )
