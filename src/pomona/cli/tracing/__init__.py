"""`pomona trace`: where the time of requests went.

Owns: the command, the list, the waterfall. Does not own: what is known of a request (`server/tracing/`, asked over HTTP).
Start reading at `command.py`.
"""
