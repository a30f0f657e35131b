"""One request against one model and one catalog."""
