"""The embedded planner: a small network that says where organs are, and the rules that make it a
policy.
"""
