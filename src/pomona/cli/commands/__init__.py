"""One module per command or pair of commands; each is loaded only when it is called, through the entry points `pomona.commands`.

Owns: options and output of each command. Does not own: how commands are found, errors, global options (`pomona.cli`).
Start reading at `config.py`, the smallest one.
"""
