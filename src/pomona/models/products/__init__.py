"""How layers with quantised weights multiply on a GPU: packed as they are stored, expanded, or either by the number of rows.

Owns: the two-way layers, what they cost here, the choice. Does not own: quantising (`models/convert`), CPUs (`models/cpu`).
Start reading at `choosing.py`.
"""
