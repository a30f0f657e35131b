"""Which build of llama.cpp runs here, and on which CPU: scores depend on both, so every published figure names them."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec_edge._version import __version__
from genrec_edge.engine import bindings
from genrec_edge.storage.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIBRARIES = re.compile(r"(lib)?(llama|ggml[\w-]*)\.(so|dylib|dll)")
_BUILD_OPTIONS = frozenset({"ACCELERATE", "KLEIDIAI", "LLAMAFILE", "OPENMP", "REPACK"})
"""What `llama_print_system_info` lists beside features of the CPU.

Source: ggml/src/ggml-cpu/ggml-cpu.cpp, ggml_backend_cpu_get_features (llama.cpp 0c1e57098).
"""


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """The programs and the CPU that computed something.

    Attributes:
        genrec_edge: our version.
        python: version of Python.
        llama_cpp_python: version of the package that brings llama.cpp.
        llama_cpp: version and commit of llama.cpp, such as "0.5.0-dev (0c1e570-dirty)".
        cpu_features: instructions that llama.cpp was built to use, such as "AVX2"; it may use no others.
        build_options: other parts it was built with, such as "OPENMP", "REPACK".
        libraries: sha256 of each library of llama.cpp by its file's name; two builds of one commit differ here.
        platform: system, release and architecture.
        cpu: the model of the CPU, or the architecture where the system does not say.
        cpus: how many of them this process may use.
    """

    genrec_edge: str
    python: str
    llama_cpp_python: str
    llama_cpp: str
    cpu_features: tuple[str, ...]
    build_options: tuple[str, ...]
    libraries: Mapping[str, str]
    platform: str
    cpu: str
    cpus: int

    def __str__(self) -> str:
        """Return one line for below a table."""
        return (
            f"genrec-edge {self.genrec_edge}, llama-cpp-python {self.llama_cpp_python}, llama.cpp {self.llama_cpp} "
            f"built for {' '.join(self.cpu_features) or 'any CPU'}; {self.cpu}, {self.cpus} CPUs"
        )


@functools.cache
def build_info() -> BuildInfo:
    """Return the build and the CPU of this process. Loads llama.cpp, and reads its libraries once for their hashes."""
    llama, ggml = bindings.library(), bindings.tensor_library()
    on = _switched_on(_text(llama, "llama_print_system_info"))
    affinity = getattr(os, "sched_getaffinity", None)
    return BuildInfo(
        genrec_edge=__version__,
        python=platform.python_version(),
        llama_cpp_python=importlib.metadata.version("llama-cpp-python"),
        llama_cpp=f"{_text(llama, 'llama_version')} ({_text(ggml, 'ggml_commit')})",
        cpu_features=tuple(name for name in on if name not in _BUILD_OPTIONS),
        build_options=tuple(name for name in on if name in _BUILD_OPTIONS),
        libraries=_libraries(),
        platform=platform.platform(),
        cpu=_cpu(),
        cpus=len(affinity(0)) if affinity else os.cpu_count() or 1,
    )


def _switched_on(system_info: str) -> list[str]:
    """Return the names that llama.cpp lists with a value other than 0.

    >>> _switched_on("CPU : SSE3 = 1 | AVX512 = 0 | SVE_CNT = 32 | ")
    ['SSE3', 'SVE_CNT']
    """
    return [name for name, value in re.findall(r"(\w+) = (\w+)", system_info) if value != "0"]


def _text(library: Any, function_name: str) -> str:
    """Return what a function without arguments says; "unknown" where a build lacks it."""
    function = getattr(library, function_name, None)
    if function is None:
        return "unknown"
    function.argtypes, function.restype = (), ctypes.c_char_p
    return str((function() or b"unknown").decode("utf-8", errors="replace"))


def _libraries() -> dict[str, str]:
    folder = Path(bindings.tensor_library()._name).parent  # noqa: SLF001 - ctypes has no other name for it
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if _LIBRARIES.fullmatch(path.name)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
