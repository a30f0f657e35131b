"""A sentence becomes a condition over the catalog and the words that are left for the model."""
