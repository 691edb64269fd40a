"""Composes the rooms, keeps the record, answers HTTP: the only room with a database and
settings.
"""
