"""What the instances of a study are: `choice.py` takes the series, `stack.py` sorts its slices."""
