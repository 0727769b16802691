"""Names that people and programs gave to models: registered folders and adapters, aliases, pins.

Owns: the one file that keeps them, and who may change what. Does not own: how names are looked up (`models/references.py`).
Start reading at `registry.py`.
"""
