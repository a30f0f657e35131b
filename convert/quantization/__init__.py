"""Quantization: llama.cpp's quantizer, importance matrices, estimated file sizes."""
