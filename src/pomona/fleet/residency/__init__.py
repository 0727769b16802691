"""Many models in memory under one budget.

Owns: which models are loaded, who waits for them, plans and measurements of memory, the guard that watches what is free.
Does not own: engine processes (`fleet.process`), how one model comes to life (`fleet.resident`), names (`fleet.directory`).
Start reading at `pool.py` (leases, loads, evictions), then `routing.py` (requests take leases).
"""
