"""One engine process, seen from the gateway.

Owns: starting and ending it, the socket to it, streams of ids over that socket. Does not own: when it is started or replaced
(`fleet.survival.supervisor`). Start reading at `client.py`.
"""
