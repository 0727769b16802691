"""Getting models, naming them, and removing them.

Owns: asking the model hub, downloads into Hugging Face's cache, checks of memory and disk, the registry with aliases and pins.
Does not own: what a folder must hold (`models`), converting weights (`models/convert`, run as a child), HTTP and the command line.
Start reading at `pulling.py`.
"""
