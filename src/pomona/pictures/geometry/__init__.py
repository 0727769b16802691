"""How large a picture must be for a model, and which tokens stand for it: arithmetic, without pixels.

Owns: the facts of a model folder, sizes, token counts, the ids in a picture's place. Does not own: decoding, resizing, features.
Start reading at `facts.py`, then `reading.py`.
"""
