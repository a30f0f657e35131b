"""Models on this machine: known ones, their download, the store."""
