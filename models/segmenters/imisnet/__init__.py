"""IMIS-Net ViT-B: a promptable segmenter for points, boxes, masks and text, assembled from parts of
other packages.

Upstream publishes no licence. Nothing here is copied from it: the network follows the published
description and the names and shapes of the checkpoint's tensors.
"""
