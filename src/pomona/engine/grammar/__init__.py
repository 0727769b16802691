"""Which tokens a row may choose: grammars and the limits of thoughts.

Owns: the tokenizer that grammars are matched with, compiled grammars, where each row stands in its own, masks on host and device.
Does not own: the making of grammars (`pomona.text.grammar`), sampling. Start reading at `constraint.py`, then `masks.py`, `compiler.py`.
"""
