"""kbuild: hermetic, content-addressed images of JAX models that give the same bits on every node."""

__version__ = "0.1.0"
