"""The demo: a sample CT, a small archive that plays the PACS, and the main job.

`__main__.py`, read first, runs it step by step.
"""
