"""The segmentation API: an image, boxes and clicks in, masks out.

For training rollouts and interactive clients.
"""
