"""Registry of known models and shipped adapters, read as package data."""
