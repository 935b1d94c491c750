"""The plan: an image, laid out before anything is fetched or run."""
