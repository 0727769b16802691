"""Other engines' calls, answered by Pomona's.

Owns: `mlx_engine` (LM Studio's mlx-engine) and `mlx_serving` (camelCase and snake_case of the engine that Pomona replaces). Does not own:
any behaviour: all of it is `pomona.library`. Start reading at `mlx_engine.py`.
"""
