"""Training: data sets, trajectories' files, fine-tuning; nothing that serves loads it."""
