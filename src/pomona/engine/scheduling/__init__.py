"""Which rows compute how many tokens in the next step.

Owns: order, fairness, chunks, who is put back. Does not own: pages (`cache`), arrays, passes (`runner.py`). Plain Python.
Start reading at `scheduler.py`.
"""
