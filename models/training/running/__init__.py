"""What every training run does alike: it keeps whole checkpoints, ends with one sentence where it
must, and leaves a model that is served.
"""
