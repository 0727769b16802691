"""Memory: what a model will need, what it took, how free memory is judged.

Owns: plans, measurements and their book, the five levels of the guard. Does not own: what is done about them (`pool.py`, `maintenance.py`).
Start reading at `planning.py`.
"""
