"""Files that several processes change, and how they stay whole.

Owns: locks beside files, replacement in one step. Does not own: what is in them. Start reading at `private.py`.
"""
