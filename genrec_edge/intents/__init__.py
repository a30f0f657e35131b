"""Intentions: a sentence becomes a condition over the catalog, and words that are left for the model."""
