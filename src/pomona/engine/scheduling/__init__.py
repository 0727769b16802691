"""Which rows compute how many tokens in the next step.

Owns: order, fairness between callers, chunks, batch size, who is parked or put back, what passes cost. Does not own: pages (`cache`),
arrays, passes (`passes/`). Plain Python. Start reading at `scheduler.py`.
"""
