"""GGUF headers, read and checked without trusting them."""
