"""Images as the Open Container Initiative defines them: configuration, manifests, index, export."""
