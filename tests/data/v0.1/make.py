"""Makes the files of version 0.1 that `tests/test_previous_version.py` opens, with that version's own command line.

    git worktree add ../before 18f9e9e
    python -m venv ../venv-before && . ../venv-before/bin/activate && cd ../before
    CMAKE_ARGS="-DCMAKE_PROJECT_INCLUDE=$PWD/.ci/llama-core.cmake" pip install -c .ci/constraints.txt -e '.[dev]'
    python .../make.py FOLDER

It needs the tests of that version beside it (the current folder is its checkout): the tiny LLaMA is theirs. All draws
are seeded, and no file of MovieLens is read. Revisions of catalogs and times of day are others each time, so that the
files are never the same twice, and have to be made all together.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDERS = ("catalog", "index", "models", "prior", "dataset", "profiles", "batch", "training", "prompts", "expected")
TITLES = Path("tests/data/tricky.csv")
MAIN = "from genrec_edge.cli import main; main()"
KILLED_AFTER_THE_FIRST_PART = f"""
import os, signal
replace, renamed = os.replace, []
def counted(source, target, **options):
    replace(source, target, **options)
    renamed.append(str(target))
    if str(target).endswith("00000000.jsonl"):
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = counted
if __name__ == "__main__":
    {MAIN}
"""
KILLED_IN_STEP = """
import os, signal
from genrec_edge.convert import train as module
whole = module.train
def until_killed(job, *, resume=False, on_step):
    def told(progress, total):
        on_step(progress, total)
        if progress.step == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
    return whole(job, resume=resume, on_step=told)
module.train = until_killed
{main}
"""
KILL_STEP = 11
RECIPE = """# As small as a recipe can be that leaves checkpoints, looks and every kind of state behind.
prompt = "forms-1"
seed = 3
checkpoint_every = 3
[data]
window = 8
[lora]
r = 2
alpha = 4
dropout = 0.1
targets = ["q_proj", "v_proj", "down_proj"]
tokens = true
[optimizer]
lr = 5e-3
warmup = 2
batch = 6
micro_batch = 3
epochs = 3
[validation]
users = 8
every = 1
[forms]
history = 1.0
taste = 0.5
search = 0.5
judge = 0.3
"""
NEW_ITEMS = """id,title,year,genres,rating
101,Alien Resurrection,1997,Horror|Science Fiction,6.2
102,Toy Story 2,1999,Animation|Comedy,7.9
"""
LATER = """user,item,timestamp
u1,004,5000
u1,005,5001
new,001,5000
new,046,5001
new,022,5002
"""

FIRST, SECOND = ("Alien", "The Matrix", "Blade Runner"), ("Casablanca", "Vertigo", "no such title at all", "Psycho")
ASKED = ("--model", "tiny", "--catalog", "{catalog}", "--threads", "1")
ANN = "Alien,Aliens,Blade Runner,Se7en,Heat (1995),Fargo,Jaws,Psycho,Vertigo,Chinatown,Airplane!,1941,Toy Story"
BEN = "Amélie,Some Like It Hot,Groundhog Day"


class Maker:
    """Runs commands in a folder of its own, and puts what they make below `out`."""

    def __init__(self, work: Path, out: Path) -> None:
        self.work, self.out, self.home = work, out, work / "home"
        self.catalog, self.prior = work / "tricky.db", work / "made.prior"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("GENREC_EDGE_")}
        self._env |= {"GENREC_EDGE_HOME": str(self.home), "GENREC_EDGE_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
        self._env |= {"GENREC_EDGE_KEEP_PROMPTS": "0"}

    def run(self, *arguments: object, code: str = MAIN, exits: int = 0, keep_prompts: bool = False) -> str:
        """Run a command in the work folder, and return what it prints."""
        argv = [sys.executable, "-c", code, *map(str, arguments)]
        if code != MAIN and "__main__" in code:  # workers are spawned, and import the script again
            script = self.work / "killed.py"
            script.write_text(code, encoding="utf-8")
            argv = [sys.executable, str(script), *map(str, arguments)]
        env = self._env | ({"GENREC_EDGE_KEEP_PROMPTS": "1"} if keep_prompts else {})
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=self.work, env=env)
        if done.returncode != exits:
            raise SystemExit(f"{arguments} ended with {done.returncode}, not {exits}: {done.stderr}")
        return done.stdout

    def json(self, *arguments: object, exits: int = 0, keep_prompts: bool = False) -> dict[str, Any]:
        """Run a command with --json, and return its document."""
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json", exits=exits, keep_prompts=keep_prompts))
        return found

    def keep(self, source: Path, target: str) -> None:
        """Copy a file or a folder below `out`, times and all."""
        path = self.out / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, path)
        else:
            shutil.copy2(source, path)

    def expect(self, name: str, document: object) -> None:
        """Write what was answered."""
        path = self.out / "expected" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=False)
        path.write_text(text + "\n", encoding="utf-8")


def told(titles: tuple[str, ...]) -> list[str]:
    """Return titles as options."""
    return [word for title in titles for word in ("-H", title)]


def write_events(path: Path) -> None:
    """Make up 24 users, who stay with a few genres for a while; some events have one time, some have ratings."""
    rng = random.Random(1)
    with TITLES.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["genres"]]
    by_genre: dict[str, list[str]] = {}
    for row in rows:
        for genre in row["genres"].split("|"):
            by_genre.setdefault(genre, []).append(row["id"])
    genres = sorted(genre for genre, ids in by_genre.items() if len(ids) >= 6)
    lines = ["user,item,timestamp,rating"]
    for user in range(24):
        liked = [by_genre[genre] for genre in rng.sample(genres, 2)]
        met = list(dict.fromkeys(rng.choice(liked[place // 4 % 2]) for place in range(rng.randint(14, 20))))
        for place, item in enumerate(met):
            rating = rng.choice(["", "3", "4", "4.5", "5"])
            lines.append(f"u{user},{item},{1000 + 10 * user + place // 2 * 2},{rating}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def some_users() -> list[dict[str, Any]]:
    """Make up 40 users of a job, three chunks; two of them cannot be answered."""
    rng = random.Random(2)
    with TITLES.open(encoding="utf-8", newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file) if row["id"] not in {"060", "009", "010", "011", "012"}]
    rows: list[dict[str, Any]] = [
        {"user": f"u{n}", "history": rng.sample(titles, rng.randint(1, 4))} for n in range(40)
    ]
    rows[5] |= {"where": "year < 1990", "k": 2}
    rows[7]["history"] = ["no such title at all"]
    rows[21]["history"] = [{"id": "004", "rating": 5, "timestamp": 2}, {"title": "Toy Story", "timestamp": 1}]
    rows[30] |= {"where": "colour = 'red'"}
    rows[33] |= {"intent": "comedy", "k": 3}
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_data(maker: Maker) -> None:
    """Data set, catalog and base."""
    sys.path.insert(0, str(Path.cwd()))
    from tests.conftest import write_tiny_llama

    write_tiny_llama(maker.work / "base.gguf")
    shutil.copy2(TITLES, maker.work / "tricky.csv")
    write_events(maker.work / "events.csv")
    (maker.work / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (maker.work / "new_items.csv").write_text(NEW_ITEMS, encoding="utf-8")
    (maker.work / "later.csv").write_text(LATER, encoding="utf-8")
    files = ("--interactions", "events.csv", "--items", "tricky.csv")
    maker.run("data", "import", *files, "--name", "made", "--license", "CC0-1.0", "--terms", "made up")
    maker.keep(maker.home / "datasets" / "made", "dataset/made")
    maker.run("catalog", "build", "tricky.csv", "-o", maker.catalog, "--list", "genres", "--licence", "CC0-1.0")


def make_model(maker: Maker) -> None:
    """One training to its end, its adapter in the store, and another training that is killed."""
    options = ("--data", "made", "--base", "base.gguf", "--config", "recipe.toml", "--threads", 1)
    whole = maker.json("train", *options, "--out", "whole")
    log = read_rows(maker.work / "whole" / "log.jsonl")
    for entry in log:
        del entry["seconds"]  # the only figure of a step that is not drawn by the seed
    record = json.loads((maker.work / "whole" / "genrec_edge.json").read_text(encoding="utf-8"))
    training = {name: whole[name] for name in ("steps", "events", "looks", "stopped_early")}
    maker.expect("training.json", {**training, "log": log, "record": record})
    into = ("--out", "tiny", "--license", "CC0-1.0", "--verify", "none")
    maker.run("convert", "--base", "base.gguf", "--adapter", "whole", "--quant", "F16", *into)
    maker.keep(maker.home / "models" / "tiny", "models/tiny")
    code = KILLED_IN_STEP.format(step=KILL_STEP, main=MAIN)
    maker.run("train", *options, "--out", "out", code=code, exits=-signal.SIGKILL)
    for name in ("base.gguf", "recipe.toml"):
        maker.keep(maker.work / name, f"training/{name}")
    maker.keep(maker.work / ".out.partial", "training/partial")


def make_index(maker: Maker) -> None:
    """The title index before and after the catalog was changed, and what the model thinks of all titles."""
    asked = ("recommend", "--model", "tiny", "--catalog", maker.catalog, *told(FIRST), "--threads", 1)
    maker.run(*asked)
    (folder,) = (maker.home / "cache" / "indexes").glob("tricky-*")
    maker.keep(folder / "trie", "index/older")
    maker.run("catalog", "add", "new_items.csv", "--catalog", maker.catalog)
    one = ("--title", "The Thing", "--id", "103", "--year", 1982, "--set", "genres=Horror", "--set", "rating=8.2")
    maker.run("catalog", "add", *one, "--catalog", maker.catalog)
    maker.run("catalog", "remove", "060", "103", "--catalog", maker.catalog)
    maker.keep(maker.catalog, "catalog/tricky.db")
    maker.run(*asked, "--calibrate", 0.5)
    maker.keep(folder / "trie", "index/current")
    (habits,) = folder.glob("habits-*.npz")
    maker.keep(habits, f"index/{habits.name}")


def make_prior(maker: Maker) -> None:
    """A prior of all events, and events to add to it."""
    maker.run("prior", "build", "--data", "made", "--split", "all", "--out", maker.prior)
    maker.keep(maker.prior, "prior/made.prior")
    maker.keep(maker.work / "later.csv", "prior/later.csv")


def make_profiles(maker: Maker) -> None:
    """Three users: two blocks summarised and items waiting; nothing summarised; blocks that are merged when asked."""
    catalog = ("--catalog", maker.catalog)
    titles = ANN.split(",")
    maker.run("profile", "update", "ann", *told(tuple(titles[:6])), *catalog)
    maker.run("profile", "update", "ann", *told(tuple(titles[6:])), *catalog)
    maker.run("profile", "update", "ben", *told(tuple(BEN.split(","))), *catalog)
    rated = [{"title": title, "rating": 1 + n % 5, "timestamp": 100 + n} for n, title in enumerate(titles)]
    path = maker.work / "cat.jsonl"
    write_rows(path, rated)
    blocks = ("--method", "hierarchical", "--block", 3, "--blocks", 2)
    maker.run("profile", "update", "cat", "--history-file", path, "--min-rating", 2, *blocks, *catalog)
    maker.keep(maker.home / "profiles.db", "profiles/profiles.db")


def make_batch(maker: Maker) -> None:
    """A job that ran to its end, and one that was killed with one of three chunks finished."""
    options = ("--model", "tiny", "--catalog", maker.catalog, "-k", 5, "--workers", 1, "--threads", 1)
    write_rows(maker.work / "users.jsonl", some_users())
    maker.run("batch", "users.jsonl", "--out", "whole.jsonl", *options, exits=3)
    maker.keep(maker.work / "whole.jsonl", "expected/batch.jsonl")
    killed = ("batch", "users.jsonl", "--out", "out.jsonl", *options)
    maker.run(*killed, code=KILLED_AFTER_THE_FIRST_PART, exits=-signal.SIGKILL)
    maker.keep(maker.work / "users.jsonl", "batch/users.jsonl")
    maker.keep(maker.work / "out.jsonl.parts", "batch/out.jsonl.parts")


def make_prompts(maker: Maker) -> None:
    """Two prompts that were evaluated and kept."""
    for history in (FIRST, SECOND):
        asked = ("recommend", "--model", "tiny", "--catalog", maker.catalog, *told(history), "--threads", 1)
        maker.run(*asked, keep_prompts=True)
    for path in sorted((maker.home / "cache" / "prompts").iterdir()):
        maker.keep(path, f"prompts/{path.name}")


def questions() -> list[tuple[list[str], tuple[str, ...], int]]:
    """Return what is asked: the arguments, which parts of the answer are kept (all for none), and the exit code."""
    parts = ("items", "exact", "unresolved", "resolved", "where", "loosened", "dropped", "model", "catalog")
    first, second = told(FIRST), told(SECOND)
    prior, words = ["--prior-file", "{prior}", *ASKED], ["--intent", "comedy from the 90s", "--preference", "slow"]
    return [
        (["catalog", "info", "--catalog", "{catalog}"], (), 0),
        (["catalog", "search", "alien", "--catalog", "{catalog}"], (), 0),
        (["resolve", "teh matrx", "Amelie", "Hamlet", "toy story 2", "--catalog", "{catalog}"], (), 3),
        (["models", "list"], ("models",), 0),
        (["models", "verify"], (), 0),
        (["data", "show", "made"], (), 0),
        (["profile", "show", "ann"], (), 0),
        (["profile", "show", "ben"], (), 0),
        (["profile", "show", "cat"], (), 0),
        (["recommend", *first, "-k", "8", *ASKED], parts, 0),
        (["recommend", *second, "-k", "8", *ASKED], parts, 0),
        (["recommend", *first, "-k", "5", "--where", "genres = 'Comedy' AND year >= 1980", *ASKED], parts, 0),
        (["recommend", *second, "-k", "3", *words, *ASKED], parts, 0),
        (["recommend", *first, "-k", "5", "--calibrate", "0.5", *ASKED], parts, 0),
        (["recommend", "--profile", "ann", "-k", "5", *ASKED], parts, 0),
        (["recommend", "--profile", "cat", "-k", "5", *ASKED], parts, 0),
        (["recommend", *first, "-k", "50", "--budget", "1000000", *prior], parts, 0),
        (["recommend", *second, "-k", "5", "--prior", "popularity", "--prior-weight", "0.7", *prior], parts, 0),
        (["queries", "Alien", "-k", "3", *ASKED], (), 0),
        (["describe", *first, "-k", "5", *ASKED], (), 0),
        (["evaluate", "--data", "made", "--baselines", "popularity,ease,sequential,prior"], ("systems",), 0),
    ]


def make_answers(maker: Maker) -> None:
    """What is answered with these files, and after something was added to them."""
    asked = questions()
    maker.expect("answers.json", [answered(maker, arguments, parts, exits) for arguments, parts, exits in asked])
    maker.run("prior", "update", "--prior", maker.prior, "--interactions", "later.csv")
    arguments = ["recommend", *told(FIRST), "-k", "10", "--prior-file", "{prior}", *ASKED]
    maker.expect("updated_prior.json", answered(maker, arguments, ("items", "model")))
    titles = told(("WALL·E", "Trainspotting", "Hamlet (1948)", "Aladdin"))
    updates = [["profile", "update", user, *titles, "--catalog", "{catalog}"] for user in ("ann", "ben", "cat")]
    blocks = ["--method", "hierarchical", "--block", "3", "--blocks", "2"]
    updates[2] += blocks
    maker.expect("updated_profiles.json", [answered(maker, arguments) for arguments in updates])


def answered(maker: Maker, arguments: list[str], parts: tuple[str, ...] = (), exits: int = 0) -> dict[str, Any]:
    """Return what is asked and answered; of the answer some parts, or all."""
    filled = [word.format(catalog=maker.catalog, prior=maker.prior) for word in arguments]
    answer = maker.json(*filled, exits=exits)
    kept = {name: answer[name] for name in parts} if parts else answer
    return {"arguments": arguments, "exit": exits, "answer": stripped(kept, arguments[1])}


def stripped(answer: Any, verb: str) -> Any:
    """Return an answer without what is another one each time: paths, and times that something took.

    Nor the ends of intervals, whose draws are numpy's.
    """
    if isinstance(answer, dict):
        left_out = {"path", "store", "timings", "schema", "cost", "low", "high"}
        left_out |= {"updated"} if verb == "update" else set()
        return {name: stripped(value, verb) for name, value in answer.items() if name not in left_out}
    return [stripped(value, verb) for value in answer] if isinstance(answer, list) else answer


def main() -> None:
    """Make everything anew."""
    (name,) = sys.argv[1:]
    out = Path(name).absolute()
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="genrec-edge-v0.1-") as work:
        maker = Maker(Path(work), out)
        make_data(maker)
        make_model(maker)
        make_index(maker)
        make_prior(maker)
        make_profiles(maker)
        make_batch(maker)
        make_prompts(maker)
        make_answers(maker)


if __name__ == "__main__":
    main()
