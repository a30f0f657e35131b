"""Writes the model card: a README.md with the metadata that the Hugging Face Hub reads, from given facts only.

Source of the metadata: the Hub's documentation, page model-cards (`base_model_relation`, `license_name`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from genrec_edge._version import __version__
from genrec_edge.convert.verification.report import COLUMNS, findings, megabytes, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from genrec_edge.convert.verification.results import Verification

# Source: the Hub's documentation, page repositories-licenses. Other licences are "other" with a name and a link.
_HUB_LICENCES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "isc", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "mit",
    "mpl-2.0", "unlicense",
})  # fmt: skip
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

_ABOUT = """
It recommends the next item of a catalog: it reads the list of titles a user has enjoyed, and genrec-edge searches its
probabilities over the titles of the catalog exactly, so that every answer is an item of the catalog. It runs with
llama.cpp on a CPU, offline."""

_USE = """
Recommendations from a catalog of titles the model can know from its training text, such as films, on the user's own
device. The history is a list of titles, oldest first."""

_LIMITS = """
- It knows an item by its title alone. Titles that its training text does not mention are ranked by how they sound.
- It prefers what is written about most: famous, English-language, no newer than that text.
- Probabilities compare items under one history. They are not probabilities that a user will like something.
- It carries the biases of its base model. Filter the catalog where some items must never be shown.
- As a writer of free text it was neither tested nor made safe here."""


def model_card(
    *,
    name: str,
    licence: str,
    base_model: str,
    files: Mapping[str, str],
    verification: Verification | None,
    adapters: Sequence[str] = (),
    layers: str = "",
    datasets: Sequence[str] = (),
    training: Mapping[str, object] | None = None,
    licence_link: str = "LICENSE",
    plot: str | None = "report.png",
) -> str:
    """Return the text of README.md.

    Args:
        name: name of the model in the model store.
        licence: SPDX expression; if the Hub does not list it, the metadata has "other" with this name.
        base_model: name of the base. Only an id of the Hub (owner/name) becomes metadata.
        files: sha256 of each GGUF, by file name.
        verification: the measurements, or None if nothing was verified.
        adapters: names of the merged LoRA adapters.
        layers: the kept layers of the base, such as "0-7 of 30"; empty for all.
        datasets: ids or names of the training data; ids of the Hub become metadata.
        training: the training record.
        licence_link: link to a licence that the Hub does not list.
        plot: file name of the picture, or None.
    """
    header = dict(_metadata(licence, licence_link, base_model, datasets))
    sections = [
        f"# {name}\n\n{_origin(name, base_model, adapters, layers)}\n{_ABOUT}",
        f"## How to run\n\n{_commands(name, files)}",
        f"## Evaluation\n\n{_evaluation(verification, plot)}",
        f"## Training data\n\n{_training(datasets, training or {})}",
        f"## Intended use\n{_USE}",
        f"## Limits\n{_LIMITS}",
        f"## Files\n\n{_file_table(files, verification)}",
        f"## Licence\n\n{_plain(licence)}",
    ]
    # Every JSON value is a YAML value too.
    yaml = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in header.items())
    return f"---\n{yaml}---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(
    licence: str, licence_link: str, base_model: str, datasets: Sequence[str]
) -> Iterator[tuple[str, str | list[str]]]:
    if (hub_licence := licence.lower()) in _HUB_LICENCES:
        yield "license", hub_licence
    else:
        yield "license", "other"
        yield "license_name", licence
        yield "license_link", licence_link
    if _HUB_ID.fullmatch(base_model):
        yield "base_model", base_model
        yield "base_model_relation", "quantized"
    yield "library_name", "genrec-edge"
    yield "pipeline_tag", "text-generation"
    yield "tags", ["gguf", "llama.cpp", "recommendation", "generative-recommendation", "genrec-edge"]
    if hub_datasets := [dataset for dataset in datasets if _HUB_ID.fullmatch(dataset)]:
        yield "datasets", hub_datasets
    yield "quantized_by", f"genrec-edge {__version__}"


def _origin(name: str, base_model: str, adapters: Sequence[str], layers: str) -> str:
    parts = [f"{_plain(name)} is {_plain(base_model)}"]
    if layers:
        parts.append(f"cut to its layers {_plain(layers)}")
    if adapters:
        noun = "adapter" if len(adapters) == 1 else "adapters"
        parts.append(f"with the LoRA {noun} {_plain(', '.join(adapters))} merged into it")
    return f"{', '.join(parts)}, in GGUF format."


def _commands(name: str, files: Mapping[str, str]) -> str:
    lines = ["pip install genrec-edge", f'genrec-edge recommend --model {name} -H "Toy Story" -H "Aladdin"']
    if files:
        lines.append(f'genrec-edge recommend --model ./{next(iter(files))} -H "Toy Story" -H "Aladdin"')
    return "\n".join(f"    {line}" for line in lines) + (
        "\n\nThe first form takes the model out of the model store, the second any file of this folder."
    )


def _evaluation(verification: Verification | None, plot: str | None) -> str:
    if verification is None:
        return "The files were not verified."
    found = verification
    intro = (
        f"Measured against {found.files[0].file_type}: divergence (KL, nats) and top-1 agreement of the next-token "
        f"distributions at {found.n_positions:,} positions of prompts, and the share of its ten best items that a file "
        f"recommends too, after {found.n_histories} histories; both drawn from the catalog {_plain(found.catalog)} of "
        f"{found.n_items:,} items (seed {found.seed}). Speed is requests per second, as a ratio."
    )
    if hits := found.files[0].hits:
        intro += f" HR@10 is over {hits.n:,} held-out interactions."
    table = _table(COLUMNS, rows(found))
    notes = "\n".join(f"- {_plain(finding)}" for finding in findings(found))
    picture = f"\n\n![size, speed and quality of each file]({plot})" if plot else ""
    return f"{intro}\n\n{table}\n\n{notes}{picture}"


def _training(datasets: Sequence[str], training: Mapping[str, object]) -> str:
    if not datasets and not training:
        return "Nothing was recorded beside what the base model's own card says."
    lines = [f"- data: {_plain(dataset)}" for dataset in datasets]
    lines += [f"- {_plain(key)}: {_plain(str(value))}" for key, value in training.items()]
    return "\n".join(lines)


def _file_table(files: Mapping[str, str], verification: Verification | None) -> str:
    sizes = {f.name: megabytes(f.n_bytes) for f in verification.files} if verification else {}
    return _table(("file", "size", "sha256"), [(name, sizes.get(name, "-"), f"`{sha}`") for name, sha in files.items()])


def _table(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """Return a text on one line, with markup characters escaped."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))
