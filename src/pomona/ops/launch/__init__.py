"""Coding agents and other clients, started so that they talk to this machine's model.

Owns: what each client needs in its environment and on its command line, finding or starting a server for it. Does not own: the server
(app), the command (cli.commands.launch). Start reading at `plan.py`, then `claude.py`.
"""
