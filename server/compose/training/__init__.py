"""What trains and judges a planner, composed: a module a command, loaded by its name."""
