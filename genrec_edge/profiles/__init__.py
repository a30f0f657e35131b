"""Profiles of users: summaries of long histories, kept on disk."""
