"""Models on disk: one folder per model with its GGUF and its manifest, which appears whole or not at all.

Writers hold one lock, work in a hidden folder inside the store, and rename (`storage/folders.py`); readers need no
lock. Knows nothing of llama.cpp: the caller passes the function that makes a model of a downloaded file.
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
from genrec_edge.hub.contents import holds
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
    """A model file that can be run: its checked header, and its manifest if it is in the store."""

    path: Path
    manifest: Manifest | None
    header: GgufHeader


class ModelStore:
    """The models in one folder; `root` None is the user's own (`paths.models_path`).

    Several processes may use it at once. Only `pull`, `add` and `remove` write, and create the folder.
    """

    def __init__(self, root: Path | None = None, *, registry: Registry | None = None) -> None:
        self.root = Path(root) if root is not None else paths.models_path()
        self.registry = registry if registry is not None else load_registry()

    def list(self) -> Sequence[Manifest]:
        """Return the manifests of all models, by name.

        Raises:
            ModelInvalidError: a model's folder is damaged; the hint says how to remove it.
        """
        return [self.get(name)[1] for name in self.names()]

    def names(self) -> Sequence[str]:
        """Return the names of all models, damaged or not, in order."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())

    def get(self, name: str) -> tuple[Path, Manifest]:
        """Return a model's file and manifest. Its size is checked, its contents are not: that is `verify`.

        Raises:
            ModelMissingError: it is not in the store; the hint is the command that downloads it.
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

    def checked(self, name: str) -> tuple[Path, Manifest]:
        """Return a model's file and manifest as `get` does, after checking that its bytes are those of the manifest.

        The whole file is read only where something says that it was changed: see `hub.contents`.

        Raises:
            ModelMissingError, ModelInvalidError: as for `get`, or the file is not the one the manifest describes.
        """
        path, manifest = self.get(name)
        try:
            is_whole = holds(path, manifest.sha256)
        except OSError as e:
            raise self._damaged(name, f"{path} cannot be read: {e.strerror}") from e
        if not is_whole:
            raise self._damaged(name, f"{path} is not the file that its manifest describes: its bytes were changed")
        return path, manifest

    def pull(self, name: str, *, make: Make, offline: bool, on_event: OnEvent, force: bool = False) -> Manifest:
        """Download a known model and return its manifest.

        A model in the store is kept, unless `force` is set or this version knows a later file of that name.

        Raises:
            OfflineError: `offline` or the environment forbids the network, or the package could not be downloaded.
            LockedError: another process has been writing to the store for ten minutes.
            DiskFullError: the disk is full; the store is unchanged.
            ModelInvalidError: the download is not what the registry describes.
        """
        known = self._known(name)
        if not force and (manifest := self._current(name, known)):
            return manifest
        if offline or paths.offline():
            what = "is to be fetched again" if force else f"is not in {self.root}"
            message = f"this version's model {name!r} {what}, and the network is forbidden"
            hint = f"leave out `offline` and GENREC_EDGE_OFFLINE, and run `{_pull_command(name)}`"
            raise OfflineError(message, hint=hint)
        with disk_errors(self.root), locked_root(self.root, partial(on_event, "wait", 0, 0)):
            if not force and (manifest := self._current(name, known)):  # another process downloaded it meanwhile
                return manifest
            require_free(self.root, known.peak_bytes)
            with (
                work_folder(self.root) as work,
                disk_errors(self.root),
            ):  # inside, so that the error says how much was free before cleaning up
                install(make_model(name, known, work, make, on_event), self._folder(name), replace=True)
            return self.get(name)[1]

    def add(self, path: Path, manifest: Manifest, on_event: OnEvent) -> Manifest:
        """Put a file that was made on this machine into the store, as `manifest` describes it.

        It is a hard link if the file system allows it, and a copy otherwise.

        Raises:
            UsageError: a model of that name is in the store.
            LockedError: another process has been writing to the store for ten minutes.
            DiskFullError: the disk has no room for a copy; the store is unchanged.
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
                except OSError:  # another disk, or a file system without links
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
            raise UsageError(f"{name!r} is the name of a model that can be pulled", hint="choose another `name`")
        if self._folder(name).exists():
            hint = f"choose another `name`, or remove that model: genrec-edge models rm {name}"
            raise UsageError(f"the model {name!r} is in {self.root} already", hint=hint)

    def verify(self, name: str, on_bytes: Callable[[int], object] | None = None) -> Manifest:
        """Read all of a model's file and return its manifest if every bit is right. Read-only.

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
        """Return the manifest of a model in the store if it is the registry's file, else None."""
        if not self._folder(name).is_dir():
            return None
        manifest = self.get(name)[1]
        return manifest if manifest.file == known.file else None

    def _known(self, name: str) -> KnownModel:
        self._folder(name)  # checks the name
        if name not in self.registry.models:
            message = f"no model is known as {name!r}"
            raise UsageError(message, hint=f"known models: {', '.join(sorted(self.registry.models))}")
        return self.registry.models[name]

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not a model's name: at most 100 letters, digits, '.', '_' and '-' are allowed"
            raise UsageError(message, hint="`genrec-edge models list` shows the names")
        folder = self.root / name
        if folder.is_symlink():
            message = f"{folder} is a symbolic link, but a model must be a folder"
            raise ModelInvalidError(message, hint="remove the link; to use another store, set GENREC_EDGE_MODELS")
        return folder

    def _missing(self, name: str) -> ModelMissingError:
        if name in self.registry.models:
            hint = _pull_command(name)
        else:
            hint = f"known models: {', '.join(sorted(self.registry.models))}; or give the path of a .gguf file"
        message = f"the model {name!r} is not in {self.root}"
        return ModelMissingError(message, hint=hint)

    def _damaged(self, name: str, found: str) -> ModelInvalidError:
        known = name in self.registry.models
        hint = f"{_pull_command(name)} --force" if known else f"genrec-edge models rm {name}"
        return ModelInvalidError(found, hint=hint)


def resolve_model(spec: str | Path | None, store: ModelStore) -> ModelFile:
    """Return the model that `spec` names, after checking that it can be run. Read-only.

    None is the default model of the store. A `Path`, the name of an existing file, and a string that ends in .gguf or
    contains a slash is a file, used without a manifest. Anything else is a name in the store, whose file is checked as
    `ModelStore.checked` says.

    Raises:
        UsageError: no such file.
        ModelMissingError: not in the store; the hint is the command that downloads it.
        ModelInvalidError: damaged, or of a kind that is not supported.
    """
    manifest = None
    if spec is not None and _is_file_name(spec):
        path = Path(spec)
        try:
            path.stat()
        except OSError as e:
            message = f"there is no model file {path} ({e.strerror})"
            hint = "check the name; `genrec-edge models list` shows the models of the store"
            raise UsageError(message, hint=hint) from e
    else:
        path, manifest = store.checked(store.registry.default if spec is None else str(spec))
    header = read_header(path)
    check_runnable(header)
    return ModelFile(path, manifest, header)


def _is_file_name(spec: str | Path) -> bool:
    if isinstance(spec, Path) or spec.endswith(".gguf") or "/" in spec or os.sep in spec:
        return True
    try:
        return Path(spec).is_file()
    except OSError:
        return False  # too long for the name of a file


def _pull_command(name: str) -> str:
    return f"genrec-edge models pull {name}"
