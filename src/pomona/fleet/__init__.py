"""All models of one Pomona: which are in memory, their engine processes, and generators in front of them.

Owns: loading and unloading, starting, watching and restarting engine processes, streams of ids over a socket, routing by model name.
Does not own: HTTP, words (`pomona.text`), stepping (`pomona.engine`).
Start reading at `assembly.py` (the whole), `generator.py` (a request becomes events), then `survival/` (engines kept alive).
"""
