"""The execution protocol, as every image runs it (docs/protocol.md)."""
