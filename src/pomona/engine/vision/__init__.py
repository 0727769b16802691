"""Pictures in the engine: their features, and the passes that take them.

Owns: features by content, where they go in a row, positions and masks of pictures. Does not own: towers (`models/vision`), sizes and
token patterns (`pictures/geometry`), pages. Start reading at `vision.py`.
"""
