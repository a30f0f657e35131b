"""Data sets of interactions: import, read, split, and side information of items."""
