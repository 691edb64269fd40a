"""The durable work: one DBOS workflow a request, one a try to deliver, and what keeps workers
alive.
"""
