"""What runs inside an image: the runtime, and one folder per kernel. Nothing here is imported outside."""
