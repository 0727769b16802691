"""Engines that are kept alive, and answers that outlive them.

Owns: starting processes again, replaying rows in the next one, who is to blame for a death, quarantine, the circuit breaker. Does not
own: a process and the socket to it (`fleet.process`), what a row goes on with (`engine`). Start reading at `engine.py`.
"""
