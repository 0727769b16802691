"""Models by name over the admin address: which there are, what they can do, in and out of memory.

Owns: their documents and routes. Does not own: loading and evicting (`core.ports.Residency`), downloads and registering (`admin/hub.py`,
`admin/registry.py`).
Start reading at `listing.py`.
"""
