"""The database itself: `engine.py` connects, `migrate.py` brings the tables up to date, `jobs.py`
queues work.
"""
