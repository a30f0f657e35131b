"""LoRA adapters as PEFT saves them: read, merged, written as GGUF."""
