"""The database: `engine.py` connects, `migrate.py` makes the tables, `jobs.py` queues work."""
