"""Where pictures come from.

Owns: data:, file:, http: and https: addresses to bytes, and which of them may be followed. Does not own: what the bytes mean
(`pomona.pictures.decoding`).
Start reading at `loading.py`.
"""
