"""From a spec to the name, size and hash of every byte that a build may use."""
