"""Multimodal language models as the agent's chat models (agent/language/chat.py): in this process,
or on a server.
"""
