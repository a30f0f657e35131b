"""The SQLite catalog: build it, read it, filter it, resolve titles in it."""
