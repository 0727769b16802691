"""A load generator for servers with OpenAI's API: closed loop (N at a time) and open loop (Poisson arrivals).

Owns: what is sent and when, what is measured, percentiles. Does not own: options and output (`pomona.cli`), the server.
Start reading at `plan.py`, then `run.py`.
"""
