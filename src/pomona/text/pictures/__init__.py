"""Pictures in texts and prompts.

Owns: marks in texts, placeholders, their places among the ids. Does not own: pixels and how many ids a picture takes (`pomona.pictures`).
Start reading at `writing.py`.
"""
