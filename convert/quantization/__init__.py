"""Quantized file types: llama.cpp's quantizer, importance matrices, sizes."""
