"""Engine processes, and a generator in front of them.

Owns: starting, watching and restarting engine processes, streams of ids over a socket, routing by model name.
Does not own: HTTP, words (`pomona.text`), stepping (`pomona.engine`).
Start reading at `generator.py` (a request becomes events), then `supervisor.py` (one engine kept alive), then `client.py` (one process).
"""
