"""Training: LoRA on histories written as titles."""
