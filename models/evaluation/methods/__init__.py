"""Ways to answer a case: the policy as in serving, and the baselines beside it."""
