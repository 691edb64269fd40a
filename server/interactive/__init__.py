"""The segmentation API: an image, boxes and clicks in, masks out.

It serves training rollouts and interactive clients. `service.py`, read first, says what it does.
"""
