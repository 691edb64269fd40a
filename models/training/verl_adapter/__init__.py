"""Our episodes as an agent loop of verl, for who trains with that (deploy/training/README.md)."""
