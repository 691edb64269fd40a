"""The HTTP API: bearer tokens, problem details, and the record as JSON.

Starts no work by itself.
"""
