"""A model's config and weights, read from and written to Hugging Face folders and GGUF files."""
