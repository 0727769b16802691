"""Dialects whose answers are made of messages or sections, each with a header that says to whom it goes.

Owns: one file per dialect. Does not own: reading JSON as it comes (text.tools.json_calls). Start reading at `harmony.py`.
"""
