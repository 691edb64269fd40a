"""The record: studies, requests, turns, deliveries and an append-only audit trail in PostgreSQL.

`record.py`, read first, is what the rest of the server calls; `tables.py` has the tables.
"""
