"""A language model in this process: `transformers_chat.py` is read first."""
