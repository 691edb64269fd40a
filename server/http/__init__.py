"""The HTTP API: bearer tokens, problem details, and the record as JSON.

It starts no work by itself. `app.py`, read first, puts it together from `routes/`.
"""
