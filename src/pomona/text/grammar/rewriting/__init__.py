"""JSON Schemas in the part of the language that llguidance enforces exactly.

Owns: reading every draft, references, keywords in other words, what has no end, what cannot be enforced. Does not own: the text of a
grammar and asking llguidance (text.grammar). Start reading at `document.py`.
"""
