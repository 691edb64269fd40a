"""From a volume to what a model is shown: `preprocessing.py` is read first."""
