"""Whether a node can do what its configuration says: asked by `segnode check`, and by `segnode
serve` before it starts.
"""
