"""Running one image on many hosts, and comparing every bit that comes out."""
