"""What a reply may say, in both papers' syntaxes: `dialects.py` reads and writes it."""
