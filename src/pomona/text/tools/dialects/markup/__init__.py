"""Dialects whose calls are tags around names and values, or calls as a programming language writes them.

Owns: one file per dialect, and reading tagged calls (`tags.py`). Does not own: values in Python's or Gemma's notation
(text.tools.literals), types of parameters (text.tools.schema_types). Start reading at `tags.py`, then `qwen3_coder.py`.
"""
