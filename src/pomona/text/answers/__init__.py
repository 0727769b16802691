"""What will come back for a request: thoughts, calls, a form, or text that fills a gap.

Owns: the grammar that binds an answer, whether it begins with a thought, reading thoughts and calls out of it, prompts with a gap. Does not
own: dialects (text.tools), marks of thoughts (text.reasoning), rendering (text.templates). Start reading at `plan.py`.
"""
