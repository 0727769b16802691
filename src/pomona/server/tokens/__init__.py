"""The tokenizer over HTTP: text to tokens, tokens to text, conversations to the prompt that a model reads.

Owns: its bodies, which take vLLM's and llama.cpp's words for the same. Does not own: tokenising (`core.ports.Tokenization`).
Start reading at `routes.py`.
"""
