"""The models' room: weights, segmenters, policies and preprocessing; the only room that loads torch
and MONAI.

Importing this package loads nothing heavy: `models.registry` imports a model when it is asked for
by name.
"""
