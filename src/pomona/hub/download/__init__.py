"""Files of a repository, from the hub into Hugging Face's cache.

Owns: what is still to be fetched, transfers that go on where they stopped, checksums, locks between processes, the cache's layout.
Does not own: which model is wanted and whether it fits (`hub`).
Start reading at `repository.py`.
"""
