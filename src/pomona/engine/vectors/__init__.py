"""An engine for models that make vectors or scores: ids in, float32 out.

Owns: which texts of which requests share a pass. Does not own: the models (`pomona.models.encoders`), the loop around it
(`pomona.engine.process`), tokenising (`pomona.fleet.vectors`). Start reading at `engine.py`.
"""
