"""Where the time of each row goes.

Owns: a watch for each row, the times of passes, who stood by while whose prompt was computed.
Does not own: what is done with it (the gateway shows it), and any decision.
Start reading at `timeline.py`.
"""
