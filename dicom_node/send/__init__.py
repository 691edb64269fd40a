"""The way out: `sender.py` stores instances at a destination and says what became of each."""
