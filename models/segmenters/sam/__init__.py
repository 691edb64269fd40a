"""SAM ViT-B, ViT-L and ViT-H on the package segment-anything: its modules, weights that we load
ourselves.
"""
