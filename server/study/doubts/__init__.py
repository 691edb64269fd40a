"""What Segnode doubts of its own outlines before it sends them."""
