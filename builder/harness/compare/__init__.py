"""Two runs' outputs, element by element: which bits differ, where first, and how far (docs/compare.md)."""
