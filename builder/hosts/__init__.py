"""Where an image can run."""
