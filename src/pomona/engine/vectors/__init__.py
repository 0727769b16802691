"""An engine for models that make vectors or scores: ids in, float32 out.

Owns: which texts of which requests share a pass, the loop around it. Does not own: the models (`pomona.models.encoders`), tokenising
(`pomona.fleet.vectors`). Start reading at `engine.py`.
"""
