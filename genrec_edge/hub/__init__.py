"""Known models, their download, and the store of models on this machine."""
