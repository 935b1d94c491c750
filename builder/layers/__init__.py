"""Layers: from locked bytes to canonical tars, and the tars packed."""
