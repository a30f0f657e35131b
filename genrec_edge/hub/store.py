"""Models on disk: one folder per model with its GGUF and its manifest, which appear whole or not at all.

Writers hold one lock, work in a hidden folder inside the store, and rename (`storage/folders.py`); readers need no
lock. Knows nothing of llama.cpp: what is made of a file is done by a function it is given.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from genrec_edge.errors import ModelInvalidError, ModelMissingError, OfflineError, UsageError
from genrec_edge.gguf.header import GgufHeader, read_header, tokenizer_fingerprint
from genrec_edge.gguf.validate import check_runnable
from genrec_edge.hub.build import Make, OnEvent, make_model
from genrec_edge.hub.manifest import MANIFEST_NAME, Manifest, load_manifest, save_manifest
from genrec_edge.hub.registry import KnownModel, Registry, load_registry
from genrec_edge.storage import paths
from genrec_edge.storage.files import disk_errors, require_free, sha256_file, sync
from genrec_edge.storage.folders import install, locked_root, work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that can be run: checked header, and the manifest where the model comes from the store."""

    path: Path
    manifest: Manifest | None
    header: GgufHeader


class ModelStore:
    """The models below one folder; `root` None is the user's own (`paths.models_path`).

    Safe to use from several processes at once. Only `pull`, `add` and `remove` write, the folder itself included.
    """

    def __init__(self, root: Path | None = None, *, registry: Registry | None = None) -> None:
        self.root = Path(root) if root is not None else paths.models_path()
        self.registry = registry if registry is not None else load_registry()

    def list(self) -> Sequence[Manifest]:
        """Return the manifests of all models, by name.

        Raises:
            ModelInvalidError: a model's folder is damaged; the hint says how to remove it.
        """
        if not self.root.is_dir():
            return []
        names = sorted(p.name for p in self.root.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())
        return [self.get(name)[1] for name in names]

    def get(self, name: str) -> tuple[Path, Manifest]:
        """Return a model's file and manifest. Its size is checked, its contents are not: that is `verify`.

        Raises:
            ModelMissingError: it is not in the store; the hint is the command that brings it.
            ModelInvalidError: its folder is damaged.
        """
        folder = self._folder(name)
        if not folder.is_dir():
            raise self._missing(name)
        manifest = load_manifest(folder / MANIFEST_NAME)
        path = folder / manifest.file
        if path.is_symlink() or not path.is_file():
            raise self._damaged(name, f"{path} is missing or a symbolic link")
        if manifest.name != name:
            raise self._damaged(name, f"the manifest in {folder} names the model {manifest.name!r}")
        if (size := path.stat().st_size) != manifest.size_bytes:
            raise self._damaged(name, f"{path} has {size:,} bytes, the manifest says {manifest.size_bytes:,}")
        return path, manifest

    def pull(self, name: str, *, make: Make, offline: bool, on_event: OnEvent, force: bool = False) -> Manifest:
        """Bring a known model and return its manifest.

        One that is there is kept, unless `force`, or unless this version knows a later file of that name.

        Raises:
            OfflineError: `offline` or the environment forbids the network, or the package could not be had.
            LockedError: another process writes into the store for too long.
            DiskFullError: there is no room; the store is as it was.
            ModelInvalidError: what arrived is not what the registry describes.
        """
        known = self._known(name)
        if not force and (manifest := self._current(name, known)):
            return manifest
        if offline or paths.offline():
            message = f"the model {name!r} is not in {self.root} as this version knows it, and the network is forbidden"
            raise OfflineError(message, hint=f"without --offline and GENREC_EDGE_OFFLINE: {_pull_command(name)}")
        with disk_errors(self.root), locked_root(self.root, partial(on_event, "wait", 0, 0)):
            if not force and (manifest := self._current(name, known)):  # whoever held the lock brought it
                return manifest
            require_free(self.root, known.peak_bytes)
            with (
                work_folder(self.root) as work,
                disk_errors(self.root),
            ):  # tells the room before it is cleaned
                install(make_model(name, known, work, make, on_event), self._folder(name), replace=True)
            return self.get(name)[1]

    def add(self, path: Path, manifest: Manifest, on_event: OnEvent) -> Manifest:
        """Put a file that was made on this machine into the store, as `manifest` describes it.

        Where the file system allows, both names share the bytes on the disk; otherwise they are copied.

        Raises:
            UsageError: a model of that name is there.
            LockedError: another process writes into the store for too long.
            DiskFullError: there is no room for a copy; the store is as it was.
        """
        self.require_absent(manifest.name)
        folder = self._folder(manifest.name)
        with disk_errors(self.root), locked_root(self.root, partial(on_event, "wait", 0, 0)):
            self.require_absent(manifest.name)
            with work_folder(self.root) as work, disk_errors(self.root):
                made = work / "model"
                made.mkdir()
                try:
                    (made / manifest.file).hardlink_to(path)
                except OSError:  # another disk, or one that knows no links
                    require_free(self.root, manifest.size_bytes)
                    shutil.copyfile(path, made / manifest.file)
                    sync(made / manifest.file)
                save_manifest(manifest, made / MANIFEST_NAME)
                sync(made)
                install(made, folder)
        return self.get(manifest.name)[1]

    def require_absent(self, name: str) -> None:
        """Raise UsageError if a model of that name is in the store or known to the registry."""
        if name in self.registry.models:
            raise UsageError(f"{name!r} is the name of a model that can be pulled", hint="choose another --name")
        if self._folder(name).exists():
            hint = f"choose another --name, or: genrec-edge models rm {name}"
            raise UsageError(f"the model {name!r} is in {self.root} already", hint=hint)

    def verify(self, name: str, on_bytes: Callable[[int], object] | None = None) -> Manifest:
        """Read a model's file from end to end and return its manifest when every bit is right. Read-only.

        Raises:
            ModelMissingError: it is not in the store.
            ModelInvalidError: the file is not the one the manifest describes.
        """
        path, manifest = self.get(name)
        if (found := sha256_file(path, on_bytes)) != manifest.sha256:
            raise self._damaged(name, f"{path} has the sha256 {found}, the manifest says {manifest.sha256}")
        header = read_header(path)
        check_runnable(header)
        if tokenizer_fingerprint(header, path) != manifest.tokenizer_fingerprint:
            raise self._damaged(name, f"the tokenizer in {path} is not the one the manifest describes")
        return manifest

    def remove(self, name: str) -> None:
        """Remove a model, damaged or not.

        Raises:
            ModelMissingError: it is not in the store.
        """
        folder = self._folder(name)
        if not folder.is_dir():
            raise self._missing(name)
        with locked_root(self.root):
            if not folder.is_dir():
                raise self._missing(name)
            with work_folder(self.root) as work:
                folder.rename(work / "removed")
                sync(self.root)

    def _current(self, name: str, known: KnownModel) -> Manifest | None:
        """Return the manifest of a model that is there as the registry knows it."""
        if not self._folder(name).is_dir():
            return None
        manifest = self.get(name)[1]
        return manifest if manifest.file == known.file else None

    def _known(self, name: str) -> KnownModel:
        self._folder(name)
        if name not in self.registry.models:
            message = f"no model is known as {name!r}"
            raise UsageError(message, hint=f"known models: {', '.join(sorted(self.registry.models))}")
        return self.registry.models[name]

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not a model's name: letters, digits, '.', '_' and '-', 100 at most"
            raise UsageError(message, hint="genrec-edge models list shows the names")
        folder = self.root / name
        if folder.is_symlink():
            message = f"{folder} is a symbolic link, which a model's folder must not be"
            raise ModelInvalidError(message, hint="remove the link; GENREC_EDGE_MODELS names another store")
        return folder

    def _missing(self, name: str) -> ModelMissingError:
        if name in self.registry.models:
            hint = _pull_command(name)
        else:
            hint = f"known models: {', '.join(sorted(self.registry.models))}; or name a .gguf file"
        message = f"the model {name!r} is not in {self.root}"
        return ModelMissingError(message, hint=hint)

    def _damaged(self, name: str, found: str) -> ModelInvalidError:
        known = name in self.registry.models
        hint = f"{_pull_command(name)} --force" if known else f"genrec-edge models rm {name}"
        return ModelInvalidError(found, hint=hint)


def resolve_model(spec: str | Path | None, store: ModelStore) -> ModelFile:
    """Find the model that `spec` names, and check that it can be run. Read-only.

    None is the default model of the store. A `Path`, the name of an existing file, and anything that ends in
    .gguf or holds a slash is a file, run without a manifest. Anything else is a name in the store, whose
    contents are not hashed here: that is `ModelStore.verify`.

    Raises:
        UsageError: no such file.
        ModelMissingError: not in the store; the hint is the command that brings it.
        ModelInvalidError: damaged, or not a model this product runs.
    """
    manifest = None
    if spec is not None and _is_file_name(spec):
        path = Path(spec)
        try:
            path.stat()
        except OSError as e:
            message = f"there is no model file {path}: {e.strerror}"
            hint = "check the name; genrec-edge models list shows the models of the store"
            raise UsageError(message, hint=hint) from e
    else:
        path, manifest = store.get(store.registry.default if spec is None else str(spec))
    header = read_header(path)
    check_runnable(header)
    return ModelFile(path, manifest, header)


def _is_file_name(spec: str | Path) -> bool:
    if isinstance(spec, Path) or spec.endswith(".gguf") or "/" in spec or os.sep in spec:
        return True
    try:
        return Path(spec).is_file()
    except OSError:
        return False  # too long a name for a file, and for a model


def _pull_command(name: str) -> str:
    return f"genrec-edge models pull {name}"
