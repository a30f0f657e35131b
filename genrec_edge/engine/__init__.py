"""llama.cpp: one prompt and a tree of continuations in one KV cache."""
