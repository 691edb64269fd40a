"""What one screen shows at once, read in a few queries."""
