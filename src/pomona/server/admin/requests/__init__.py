"""Requests one by one: which there were, and where their time went.

Owns: their routes and what those answer with. Does not own: traces and what is said of them (`server/tracing/`).
Start reading at `routes.py`.
"""
