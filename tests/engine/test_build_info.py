"""The record of the build of llama.cpp and of the CPU, against what /proc and the package say."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import llama_cpp
import pytest

from genrec_edge import __version__
from genrec_edge.engine.build_info import _switched_on, build_info


def test_versions_are_those_that_are_installed() -> None:
    build = build_info()
    assert (build.genrec_edge, build.python) == (__version__, platform.python_version())
    assert build.llama_cpp_python == importlib.metadata.version("llama-cpp-python") == llama_cpp.__version__
    assert "unknown" not in build.llama_cpp


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_cpu_has_every_feature_that_the_build_uses() -> None:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    build = build_info()
    assert build.cpu == facts.get("model name", build.cpu)
    if platform.machine() == "x86_64":
        flags = set(facts["flags"].split())
        flags |= {"sse3"} & {flag.replace("pni", "sse3") for flag in flags}
        flags |= {"avx512"} & {flag.removesuffix("f") for flag in flags}  # the kernel names its first part, avx512f
        assert {name.lower() for name in build.cpu_features if "_" not in name} <= flags


def test_two_builds_differ_in_the_hashes_of_their_libraries() -> None:
    folder = Path(llama_cpp.__file__).parent / "lib"
    found = build_info().libraries
    assert any("ggml-cpu" in name for name in found)
    for name, sha256 in found.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


def test_a_feature_that_is_off_is_not_named() -> None:
    text = "CPU : SSE3 = 1 | AVX512 = 0 | SVE_CNT = 32 | OPENMP = 1 | "
    assert _switched_on(text) == ["SSE3", "SVE_CNT", "OPENMP"]
    assert not {"OPENMP", "REPACK", "LLAMAFILE"} & set(build_info().cpu_features)


def test_the_line_below_a_table_names_build_and_cpu() -> None:
    build = build_info()
    line = str(build)
    for part in (build.llama_cpp, build.llama_cpp_python, build.cpu, *build.cpu_features):
        assert part in line
    assert asdict(build)["cpu"] == build.cpu
