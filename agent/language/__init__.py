"""The planner that is a language model: its prompts, its pictures, its conversation."""
