"""What `segnode` can be told to do, one file a group of commands. Each adds its parsers and runs
over the composition.
"""
