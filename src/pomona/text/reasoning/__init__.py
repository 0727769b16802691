"""The model's thoughts: how they are marked, told apart from the answer, switched on and off, and kept short.

Owns: marks by family, the splitter, efforts and budgets. Does not own: thoughts in channels (text.tools.dialects.channels), how templates
show old thoughts (text.conversation). Start reading at `marks.py`.
"""
