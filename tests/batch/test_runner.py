"""`genrec-edge batch`: every user once, in order, the same bytes whoever answers and whatever is killed meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from genrec_edge import Recommender
from genrec_edge.batch.users import BatchUser, check_users_file, read_users
from genrec_edge.batch.worker import Chunk, answer_chunk
from genrec_edge.errors import CatalogError, GenRecError, UsageError
from genrec_edge.options import Request
from genrec_edge.records import Interaction

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.usefixtures("job_home")

MAIN = "from genrec_edge.cli import main; main()"
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""Shells start what runs in their background with SIGINT ignored, and it stays so below the tests."""
# Begins every Python process below: at the n-th rename of the process that has the job, for a user who asks for 13
# items, or with u40 answered and not yet told, it is killed as from outside.
KILLER = """
import os, signal
count, real = [0], {name: getattr(os, name) for name in ("replace", "rename")}
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def wrapped(name):
    def rename(source, target, **options):
        if ".parts" not in str(target) and "out." not in os.path.basename(target):
            return real[name](source, target, **options)
        count[0] += 1
        at = os.environ.get("KILL_AT")
        if at == f"before {count[0]}": die()
        real[name](source, target, **options)
        if at == f"after {count[0]}": die()
    return rename
for name in real:
    setattr(os, name, wrapped(name))
if os.environ.get("KILL_THIRTEEN"):
    import genrec_edge.recommender as r
    answer = r.Recommender.answer
    r.Recommender.answer = lambda self, request, **o: die() if request.k == 13 else answer(self, request, **o)
if os.environ.get("KILL_TELLING"):
    from multiprocessing.connection import Connection
    send = Connection.send
    def telling(self, what):
        if isinstance(what, tuple) and what[0] == "rows" and any(b'"u40"' in line for line in what[1]): die()
        send(self, what)
    Connection.send = telling
"""


@pytest.fixture(scope="module")
def job_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home for all of these tests: the title index is built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENREC_EDGE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GENREC_EDGE_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def command(job_home: None, tiny_llama: Path, tricky_path: Path, job_users: Path) -> list[str]:
    """The command but its output."""
    setup = ["--model", str(tiny_llama), "--catalog", str(tricky_path), "-k", "5"]
    return [sys.executable, "-c", MAIN, "batch", str(job_users), "--workers", "1", *setup]


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a job writes that nothing happens to."""
    out_path = tmp_path_factory.mktemp("whole") / "out.jsonl"
    done = run(command, out_path)
    assert done.returncode == 3, done.stderr
    assert "53 of 56 users answered" in done.stdout
    assert [path.name for path in out_path.parent.iterdir()] == ["out.jsonl"]
    return out_path.read_bytes()


def run(
    command: list[str], out_path: Path, *more: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    argv = [*command, "--out", str(out_path), *more]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def begun(command: list[str], out_path: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a job in a process group of its own, and return it stopped when its first part is there.

    Stopped, it cannot end before the test has done to it what it wants; SIGCONT lets it go on.
    """
    argv = [*command, "--out", str(out_path), *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while not list(parts(out_path)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGSTOP)
    assert not out_path.exists()
    return process


def parts(out_path: Path) -> list[Path]:
    return sorted(out_path.with_name(f"{out_path.name}.parts").glob("[0-9]*.jsonl"))


def children(pid: int) -> list[int]:
    """Return the processes below one, those that Python starts for itself left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat, said = (path / "stat").read_text(), (path / "cmdline").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid and "resource_tracker" not in said:
            found.append(int(path.name))
    return found


@pytest.fixture
def killer(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "killer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILLER)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_the_rows_are_what_the_library_answers_one_by_one(
    whole: bytes, job_users: Path, tiny_llama: Path, tricky_path: Path
) -> None:
    rows = [json.loads(line) for line in whole.splitlines()]
    asked = [json.loads(line) for line in job_users.read_text().splitlines()]
    assert [row["user"] for row in rows] == [user["user"] for user in asked]
    n_items: list[int] = []
    expected: list[tuple[object, object]] = []
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        for row, user in zip(rows, asked, strict=True):
            history = [Interaction(**entry) if isinstance(entry, dict) else entry for entry in user.pop("history")]
            del user["user"]
            try:
                result = recommender.recommend(history, **{"k": 5, **user})
            except GenRecError as e:
                found = (row["error"], row["items"])
                expected.append((found, ({"code": e.code, "message": e.message}, [])))
                continue
            assert row["error"] is None
            assert row["exact"] is True
            assert [(item["rank"], item["id"]) for item in row["items"]] == [(r.rank, r.item.id) for r in result.items]
            assert [item["score"] for item in row["items"]] == pytest.approx([r.score for r in result.items], abs=1e-3)
            assert [entry["input"] for entry in row["unresolved"]] == [m.input for m in result.unresolved]
            n_items.append(len(row["items"]))
    assert all(found == wanted for found, wanted in expected)
    assert [row["user"] for row in rows if row["error"]] == ["u3", "u20", "u21"]
    assert {row["error"]["code"] for row in rows if row["error"]} == {"nothing", "usage"}
    assert sorted(set(n_items)) == [2, 5, 13]


@pytest.mark.slow
def test_several_workers_and_parquet_give_the_same(
    whole: bytes, command: list[str], job_users: Path, tmp_path: Path
) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    users = [json.loads(line) for line in job_users.read_text().splitlines()]
    names = dict.fromkeys(name for user in users for name in user)  # of columns, which have one type each
    for user in users:
        user["history"] = [entry if isinstance(entry, dict) else {"title": entry} for entry in user["history"]]
    parquet.write_table(
        pa.Table.from_pylist([{name: user.get(name) for name in names} for user in users]), tmp_path / "users.parquet"
    )
    there = [str(tmp_path / "users.parquet") if part == str(job_users) else part for part in command]
    done = run(there, tmp_path / "out.jsonl", "--workers", "2", "--threads", "1", "--json")
    assert json.loads(done.stdout) == {
        "schema": "genrec-edge/batch@1",
        "out": str(tmp_path / "out.jsonl"),
        "users": 56,
        "failed": 3,
        "resumed": 0,
    }
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert run(command, tmp_path / "out.parquet", "--threads", "2").returncode == 3
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row in rows:
        for item in row["items"]:
            assert item.pop("prior") is None  # a column is there for all
    assert rows == [json.loads(line) for line in whole.splitlines()]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(whole: bytes, command: list[str], tmp_path: Path) -> None:
    process = begun(command, tmp_path / "out.jsonl")
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGCONT)
    said = process.communicate()
    assert process.returncode == 3, said
    assert (tmp_path / "out.jsonl").read_bytes() == whole


@pytest.mark.slow
def test_a_user_who_kills_the_workers_is_given_up_and_no_other(
    whole: bytes, command: list[str], job_users: Path, tmp_path: Path, killer: dict[str, str]
) -> None:
    done = run(command, tmp_path / "out.jsonl", "--json", env={**killer, "KILL_THIRTEEN": "1"})
    assert done.returncode == 3, done.stderr
    lines, expected = (tmp_path / "out.jsonl").read_bytes().splitlines(), whole.splitlines()
    asked = [json.loads(line).get("k") for line in job_users.read_text().splitlines()]
    (crashing,) = (n for n, (line, other) in enumerate(zip(lines, expected, strict=True)) if line != other)
    assert asked[crashing] == 13
    row = json.loads(lines[crashing])
    assert row["user"] == f"u{crashing}"
    assert row["error"] == {"code": "engine", "message": "3 workers died of this request"}


@pytest.mark.slow
def test_a_chunk_that_kills_its_workers_is_given_up_and_no_other(
    whole: bytes, command: list[str], tmp_path: Path, killer: dict[str, str]
) -> None:
    done = run(command, tmp_path / "out.jsonl", "--json", env={**killer, "KILL_TELLING": "1"})
    assert done.returncode == 3, done.stderr
    lines, expected = (tmp_path / "out.jsonl").read_bytes().splitlines(), whole.splitlines()
    given_up = [n for n, (line, other) in enumerate(zip(lines, expected, strict=True)) if line != other]
    assert given_up == list(range(32, 48))  # the third chunk, none of whose users can be blamed
    errors = [json.loads(lines[n])["error"] for n in given_up]
    assert {error["code"] for error in errors} == {"engine"}
    assert [json.loads(lines[n])["user"] for n in given_up] == [f"u{n}" for n in given_up]


@pytest.mark.slow
def test_a_killed_job_goes_on_where_it_was(whole: bytes, command: list[str], tmp_path: Path) -> None:
    process = begun(command, tmp_path / "out.jsonl")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in parts(tmp_path / "out.jsonl")}
    assert kept
    assert not (tmp_path / "out.jsonl").exists()
    other = run([part if part != "5" else "6" for part in command], tmp_path / "out.jsonl")
    assert (other.returncode, other.stdout) == (2, "")
    assert "belongs to another job: asked.k differ; repeat the call it was made with" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in parts(tmp_path / "out.jsonl")} == kept
    done = run(command, tmp_path / "out.jsonl", "--json")
    assert json.loads(done.stdout)["resumed"] == 16 * len(kept)
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    again = run(command, tmp_path / "out.jsonl")
    assert again.returncode == 2
    assert again.stderr.endswith("out.jsonl is there already; choose another `out`, or set `force`\n")
    assert (tmp_path / "out.jsonl").read_bytes() == whole


# The renames of a job of two chunks: its key, the two parts, the output, and the folder of parts.
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before 1", "before 4", "after 4"])
def test_killed_at_any_rename_nothing_is_lost(
    moment: str, whole: bytes, command: list[str], job_users: Path, tmp_path: Path, killer: dict[str, str]
) -> None:
    (tmp_path / "users.jsonl").write_bytes(b"".join(job_users.read_bytes().splitlines(keepends=True)[:20]))
    short = [str(tmp_path / "users.jsonl") if part == str(job_users) else part for part in command]
    out_path = tmp_path / "out.jsonl"
    assert run(short, out_path, env={**killer, "KILL_AT": moment}).returncode == -signal.SIGKILL
    assert out_path.exists() == (moment == "after 4")
    done = run(short, out_path)
    assert done.returncode == 3, done.stderr
    assert out_path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:20])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killer", "out.jsonl", "users.jsonl"]


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(command: list[str], tmp_path: Path) -> None:
    process = begun([part.replace(MAIN, HEARING + MAIN) for part in command], tmp_path / "out.jsonl")
    (worker,) = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGCONT)
    _, said = process.communicate()
    assert (process.returncode, said.decode().splitlines()[-1]) == (130, "interrupted")
    assert not Path(f"/proc/{worker}").exists()
    assert parts(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_one_process_at_a_time_and_no_foreign_folder(command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out.jsonl.parts"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        done = run(command, tmp_path / "out.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (11, 1)
    (folder / "mine.txt").write_text("mine")
    done = run(command, tmp_path / "out.jsonl", "--force")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not the folder of a job: it holds mine.txt" in done.stderr
    assert (folder / "mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_missing_extra_is_named(command: list[str], tmp_path: Path) -> None:
    blocked = [part.replace(MAIN, "import sys; sys.modules['pyarrow'] = None; " + MAIN) for part in command]
    done = run(blocked, tmp_path / "out.parquet")
    assert done.returncode == 13, done.stderr
    assert "pip install 'genrec-edge[parquet]'" in done.stderr
    done = run(blocked, tmp_path / "out.jsonl", "--engine", "ray")
    assert done.returncode == 13, done.stderr
    assert "pip install 'genrec-edge[ray]'" in done.stderr


def test_a_catalog_that_was_changed_meanwhile_ends_the_job(tiny_llama: Path, tricky_path: Path) -> None:
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        chunk = Chunk(0, (BatchUser("u", Request(("Alien",), k=1)),))
        assert len(answer_chunk(recommender, chunk, recommender.catalog.revision)) == 1
        with pytest.raises(CatalogError, match="was changed since the job was begun"):
            answer_chunk(recommender, chunk, "another")


def test_answers_do_not_depend_on_who_was_asked_before(tiny_llama: Path, tricky_path: Path) -> None:
    a, b = BatchUser("a", Request(("Alien", "Heat (1995)"), k=9)), BatchUser("b", Request(("Alien", "Toy Story"), k=9))
    with Recommender.open(tiny_llama, tricky_path, n_threads=1) as recommender:
        revision = recommender.catalog.revision
        first = answer_chunk(recommender, Chunk(0, (a,)), revision)
        assert answer_chunk(recommender, Chunk(0, (b, a)), revision)[1:] == first


BAD: list[tuple[str, str]] = [
    ('{"user": 1}\n{"user": "1"}\n', "the user '1' is in line 1 and in line 2"),
    ('{"user": 1}\n\n{"user": 1}\n', "the user 1 is in line 1 and in line 3"),
    ('{"user": 1, "histroy": []}\n', "line 1 has the unknown field 'histroy'"),
    ('{"user": 1, "decode": "free"}\n', "line 1 has the unknown field 'decode'"),
    ('{"history": []}\n', "line 1: user is None"),
    ('{"user": true}\n', "line 1: user is True"),
    ('{"user": 1.5}\n', "line 1: user is 1.5"),
    ('{"user": 9223372036854775808}\n', "more than 64 bits"),
    ('{"user": 1}\n[]\n', "line 2 is \\[\\], not an object"),
    ("{", "line 1 is not JSON"),
    ("", "has no users"),
    ('{"user": 1, "history": "Alien"}\n', "line 1: history is 'Alien'"),
    ('{"user": 1, "history": ["Alien", 7]}\n', "line 1: history, entry 2 is 7"),
    ('{"user": 1, "history": [{"rating": 7}]}\n', "line 1: history, entry 1 has neither a title nor an id"),
    ('{"user": 1, "k": "3"}\n', "line 1: k is '3'"),
    ('{"user": 1, "k": true}\n', "line 1: k is True"),
    ('{"user": 1, "exclude": "Alien"}\n', "line 1: exclude is 'Alien'"),
    ('{"user": 1, "bias": {"004": "high"}}\n', "line 1: bias.004 is 'high'"),
    ('{"user": 1, "context": ["evening"]}\n', "line 1: context is \\['evening'\\]"),
    ('{"user": 1, "intent_where": 1}\n', "line 1: intent_where is 1"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_file_is_refused_and_its_line_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        check_users_file(path, Request())
    assert "\n" not in raised.value.message + raised.value.hint
    assert raised.value.hint


def test_what_a_row_says_goes_before_what_all_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl.gz"
    row: dict[str, Any] = {"user": -7, "k": 2, "history": ["Alien", {"id": 4, "rating": 3}], "context": {"when": "now"}}
    path.write_bytes(gzip.compress(f"{json.dumps(row)}\n{json.dumps({'user': 8, 'k': None})}\n".encode()))
    common = Request(k=7, where="year > 1980", intent_where=False)
    found = check_users_file(path, common)
    assert (found.n_users, found.are_numbers) == (2, True)
    first, second = read_users(path, common)
    history = (Interaction("Alien"), Interaction(id="4", rating=3.0))
    expected = Request(history, k=2, where="year > 1980", intent_where=False, context={"when": "now"})
    assert (first, second) == (BatchUser(-7, expected), BatchUser(8, common))


@pytest.mark.parametrize("name", ["users.jsonl.gz", "users.parquet", "users.csv", "missing.jsonl"])
def test_a_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b'{"user": 1}\n')
    with pytest.raises(UsageError, match=name):
        check_users_file(tmp_path / name, Request())


@pytest.mark.model
def test_the_default_model_answers_the_same_with_one_worker_and_with_two(
    default_model: Path, films_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_models_path: Path
) -> None:
    monkeypatch.setenv("GENREC_EDGE_MODELS", str(real_models_path))
    titles = ["Alien", "Fargo", "Toy Story", "Aladdin", "Blade Runner", "The Matrix", "Pulp Fiction"]
    rows = [{"user": n, "history": titles[n % 5 :][: 1 + n % 4]} for n in range(40)]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-c", MAIN, "batch", str(tmp_path / "users.jsonl"), "--catalog", str(films_path)]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert run(command, one, "--workers", "1", "--threads", "2").returncode == 0
    assert run(command, two, "--workers", "2", "--threads", "1").returncode == 0
    assert one.read_bytes() == two.read_bytes()
    answered = [json.loads(line) for line in one.read_text().splitlines()]
    assert [row["user"] for row in answered] == list(range(40))
    assert all(row["exact"] and len({item["id"] for item in row["items"]}) == 10 for row in answered)
