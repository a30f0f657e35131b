"""Prompts, the token trie of a catalog, and the searches over it: exact, beam, free text."""
