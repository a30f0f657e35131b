"""Tokenizers, read from and written to Hugging Face folders and GGUF files."""
