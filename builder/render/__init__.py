"""Stand-alone renderings of an image: directories that other tools build to the same file system."""
