"""LoRA adapters of PEFT: reads them, merges them into a checkpoint, writes them as GGUF."""
