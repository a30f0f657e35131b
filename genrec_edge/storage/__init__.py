"""Atomic files and folders, locks, tabular readers, SQLite helpers."""
