"""What can run a compiler in a closed world."""
