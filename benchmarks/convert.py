"""The cost of `genrec-edge convert`, compared with its unavoidable work and with the usual tools.

    python benchmarks/synthetic_llama.py base --adapter lora
    python -m benchmarks.convert base --adapter lora --quant Q4_0,Q4_K_M --work /big/disk --out figures

Steps, each in a process of its own:
    convert   the command itself, without its verification
    quantize  llama.cpp's quantizer alone, on the F16 file that `convert` kept
    copy      the base read once and written once
`ratio` is convert / (quantize + copy). With `--peer convert_hf_to_gguf.py` (out of a llama.cpp checkout):
    peft      load, merge_and_unload, save_pretrained
    script    llama.cpp's script on what peft saved, to F16
once in the type of the base, which transformers maps instead of copying and to which peft rounds, and once in float32,
the arithmetic of `convert`. The base is dropped from the page cache before it is read.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.setting import OTHERS, OURS, print_setting, setting, write
from benchmarks.watch import Usage, watch

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK_BYTES = 8 << 20

COPY = f"""
import os, sys
with open(sys.argv[1], "wb", buffering=0) as target:
    for path in sys.argv[2:]:
        with open(path, "rb", buffering=0) as source:
            while block := source.read({BLOCK_BYTES}):
                target.write(block)
    os.fsync(target.fileno())
"""

QUANTIZE = """
import sys; from pathlib import Path; from genrec_edge.engine.bindings import quantize
quantize(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""

PEFT = """
import shutil, sys; from pathlib import Path; from transformers import AutoModelForCausalLM; from peft import PeftModel
base, adapter, out = map(Path, sys.argv[1:4])
model = AutoModelForCausalLM.from_pretrained(base, dtype=sys.argv[4])
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
for path in base.glob("tokenizer*"):
    shutil.copy(path, out)
"""


def measure_convert(base: Path, adapter: Path | None, quants: list[str], out: Path) -> Usage:
    """Run `genrec-edge convert` and keep its F16 file."""
    command: list[str | Path] = [Path(sys.executable).with_name("genrec-edge"), "convert", "--base", base]
    if adapter is not None:
        command += ["--adapter", adapter]
    command += ["--quant", ",".join(quants), "--out", out, "--name", "Benchmark", "--license", "Apache-2.0"]
    forget(weights_of(base))
    return watch(
        [*command, "--keep-f16", "--verify", "none"],
        folder=out.parent,
        env={"GENREC_EDGE_MODELS": str(out.parent / "models")},
    )


def measure_quantize(f16_path: Path, quants: list[str], work: Path) -> dict[str, Usage]:
    """Run llama.cpp's quantizer alone, once for each type."""
    usages = {}
    for quant in quants:
        target = work / f"{quant}.gguf"
        usages[f"quantize {quant}"] = watch([sys.executable, "-c", QUANTIZE, f16_path, target, quant])
        target.unlink()
    return usages


def measure_copy(paths: list[Path], work: Path) -> Usage:
    """Read the files once and write their bytes once, to the disk."""
    forget(paths)
    target = work / "copy"
    usage = watch([sys.executable, "-c", COPY, target, *paths])
    target.unlink()
    return usage


def measure_peer(base: Path, adapter: Path, script: Path, work: Path, dtype: str) -> dict[str, Usage]:
    """Go the usual way: peft in memory, a merged checkpoint on the disk, llama.cpp's script."""
    peer = work / "peer"
    merged, target = peer / "merged", peer / "F16.gguf"
    peer.mkdir()
    forget(weights_of(base))
    peft = watch([sys.executable, "-c", PEFT, base, adapter, merged, dtype], folder=peer)
    env = {"PYTHONPATH": str(script.parent / "gguf-py")}
    forget(weights_of(merged))
    converted = watch([sys.executable, script, merged, "--outtype", "f16", "--outfile", target], folder=peer, env=env)
    shutil.rmtree(peer)
    return {f"peft {dtype}": peft, f"script {dtype}": converted}


def weights_of(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint."""
    return sorted(folder.glob("*.safetensors"))


def forget(paths: Iterable[Path]) -> None:
    """Drop files from the page cache, so that they are read from the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def print_table(steps: dict[str, Usage]) -> None:
    """Print one line for each step: seconds, MiB of memory, MB of the rest."""
    columns = ("wall s", "CPU s", "anon MiB", "file MiB", "HWM MiB", "disk read MB", "written MB", "folder MB", "torch")
    print(f"{'':16}" + "".join(f"{column:>14}" for column in columns))
    for name, usage in steps.items():
        mib = (usage.peak_anon_bytes, usage.peak_file_bytes, usage.peak_rss_bytes)
        mb = (usage.disk_read_bytes, usage.disk_written_bytes, usage.peak_folder_bytes)
        cells = [f"{usage.wall_s:.1f}", f"{usage.cpu_s:.1f}", *(f"{n / (1 << 20):,.0f}" for n in mib)]
        cells += [*(f"{n / 1e6:,.0f}" for n in mb), "yes" if usage.torch else "no"]
        print(f"{name:16}" + "".join(f"{cell:>14}" for cell in cells))


def picture(steps: dict[str, Usage]) -> Figure:
    """Draw time and private memory of each step."""
    figure = Figure(figsize=(9, 0.4 * len(steps) + 1.2), layout="constrained")
    names = list(steps)[::-1]
    colours = [OURS if name == "convert" else OTHERS for name in names]
    panels = (
        ("seconds", [steps[name].wall_s for name in names]),
        ("anonymous memory, MiB", [steps[name].peak_anon_bytes / (1 << 20) for name in names]),
    )
    for axes, (label, values) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        axes.bar_label(axes.barh(names, values, color=colours), fmt="%.0f", padding=3)
        axes.set_xlabel(label)
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Run the steps, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a Hugging Face folder with safetensors")
    parser.add_argument("--adapter", type=Path, help="a PEFT LoRA folder")
    parser.add_argument("--quant", default="Q4_0,Q4_K_M")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder on a disk with room")
    parser.add_argument("--peer", type=Path, metavar="SCRIPT", help="convert_hf_to_gguf.py; needs --adapter")
    parser.add_argument("--out", type=Path, help="a folder for convert.json and convert.png")
    options = parser.parse_args()
    if options.peer and not options.adapter:
        parser.error("--peer merges an adapter: name one with --adapter")
    quants = options.quant.split(",")
    options.work.mkdir(parents=True, exist_ok=True)
    out = options.work / "out"
    ours = measure_convert(options.base, options.adapter, quants, out)
    steps = {"convert": ours}
    (f16_path,) = out.rglob("*F16*.gguf")
    steps |= measure_quantize(f16_path, quants, options.work)
    steps["copy"] = measure_copy(weights_of(options.base), options.work)
    least_s = sum(usage.wall_s for name, usage in steps.items() if name != "convert")
    figures = {"ratio": ours.wall_s / least_s}
    for dtype in ("auto", "float32") if options.peer else ():
        peer = measure_peer(options.base, options.adapter, options.peer, options.work, dtype)
        figures[f"peer_{dtype}_anon_ratio"] = max(u.peak_anon_bytes for u in peer.values()) / ours.peak_anon_bytes
        figures[f"peer_{dtype}_rss_ratio"] = max(u.peak_rss_bytes for u in peer.values()) / ours.peak_rss_bytes
        steps |= peer
    record = {**setting(), **figures, "steps": {name: asdict(usage) for name, usage in steps.items()}}
    print_setting(record)
    print_table(steps)
    print(" ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    if options.out:
        write(options.out, "convert", record, picture(steps))


if __name__ == "__main__":
    main()
