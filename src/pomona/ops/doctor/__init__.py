"""Is this machine fit for Pomona? Facts are gathered first, then judged by pure functions, each with a fix for what it finds.

Owns: facts about the machine, the checks and their advice. Does not own: how they are shown (`pomona.cli.commands.doctor`).
Start reading at `findings.py`, then `checks_platform.py`; `gather.py` is the only module here that looks at the machine.
"""
