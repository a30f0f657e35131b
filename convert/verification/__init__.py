"""Checks whether a converted file still computes what the original model does."""
