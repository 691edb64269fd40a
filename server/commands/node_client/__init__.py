"""Commands that ask a running node what it has, and tell it what to do; open requests.py first."""
