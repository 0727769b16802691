"""Forward passes: built, started behind the one that runs, waited for, read. Decode passes may be traced once and replayed.

Owns: passes in flight, the shapes that traced ones are padded to. Does not own: which rows and how many tokens are in one
(`scheduling/`), what becomes of its tokens (`engine.py`). Start reading at `runner.py`, then `running.py`.
"""
