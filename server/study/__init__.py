"""What a running request works with: `runner.py` takes its targets one by one, `workfolder.py`
keeps what they leave.
"""
