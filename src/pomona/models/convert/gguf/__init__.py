"""GGUF files of llama-like families, as model folders.

Owns: reading them (through the library `gguf`), their weights without loss where MLX has the format, configuration and tokenizer.
Does not own: running them. Start reading at `convert.py`.
"""
