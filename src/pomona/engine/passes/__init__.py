"""Decode passes that are traced once and replayed.

Owns: shapes that passes are padded to, what is known of their rows on the device. Does not own: any other pass (`engine/runner.py`).
Start reading at `compiled.py`.
"""
