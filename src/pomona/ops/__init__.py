"""Looking after a Pomona: is the machine fit, how fast is the server, what does it answer.

Owns: doctor, load generator, engine benchmark, a client of OpenAI-compatible servers. Does not own: options and output (`pomona.cli`).
Start reading at `doctor/checks_platform.py` for the doctor, `load/plan.py` for the load generator.
"""
