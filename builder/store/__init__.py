"""The content-addressed store and how bytes get into it."""
