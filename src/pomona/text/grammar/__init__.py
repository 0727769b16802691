"""Grammars for what an answer may be.

Owns: turning output formats (JSON Schema, regular expressions, choices, Lark, XML) into llguidance grammars, their limits, and the
reasons why one is refused. Does not own: masks (engine), the grammars of tool calls (text.tools). Start reading at `formats.py`.
"""
