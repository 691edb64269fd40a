"""A language model's replies in both papers' syntaxes: `dialects.py` parses and renders them."""
