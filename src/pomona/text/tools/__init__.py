"""How models call tools: one file per dialect.

Owns: recognising a dialect by the chat template, reading calls out of text as it comes, the grammar of a call. Does not own: the
definitions (core.messages), thoughts (text.reasoning), grammars of answers (text.grammar). Start reading at `dialect.py`, then `hermes.py`.
"""
