"""Multimodal language models as the agent's chat models (agent/chat.py): in this process, or on a server."""
