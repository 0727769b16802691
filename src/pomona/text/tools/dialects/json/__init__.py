"""Dialects whose calls are JSON objects, or names followed by JSON arguments.

Owns: one file per dialect. Does not own: reading JSON as it comes (text.tools.json_calls). Start reading at `hermes.py`.
"""
