"""From events to the items, server-sent events and the document of a response.

Owns: the order of events, the shapes of items. Does not own: HTTP, the way in. Start reading at `composer.py`.
"""
