"""The item prior: what counting interactions says of the next item."""
