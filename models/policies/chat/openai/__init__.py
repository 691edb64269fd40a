"""A language model behind an OpenAI-compatible server: `openai_chat.py` is read first."""
