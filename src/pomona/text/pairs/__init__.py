"""Texts for encoders: single ones and pairs, with the special tokens of the tokenizer's file, cut to a length.

Owns: special tokens around inputs, truncation. Does not own: prompts of language models (`pomona.text.prompt`), instructions and which
inputs are too long (`pomona.fleet.vectors`). Start reading at `inputs.py`.
"""
