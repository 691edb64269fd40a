"""The planner that is a language model: start with `policy.py`, then `prompt_builder.py`."""
