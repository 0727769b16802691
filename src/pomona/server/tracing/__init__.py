"""Traces of requests: where the time of each one went.

Owns: the trace of the request that a task works for, the last ones, what is said of them to people and programs.
Does not own: the marks themselves (`core/tracing/`, made by whoever works), the routes (`admin/requests/`).
Start reading at `middleware.py`, then `explaining.py`.
"""
