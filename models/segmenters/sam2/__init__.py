"""SAM 2.1 and MedSAM2 on transformers' modules: the network, upstream's weights in it, slices and
volumes through it.
"""
