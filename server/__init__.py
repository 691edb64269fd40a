"""Composes the rooms, keeps the record, answers HTTP: the only room with database and settings.

`pipeline.py`, read first, takes one study from start to finish.
"""
