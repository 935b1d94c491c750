"""What the example image of these tests says."""

from __future__ import annotations

from builder.platforms import Platform

EPOCH = 1_700_000_000
ANNOTATIONS = {"org.opencontainers.image.title": "mini", "org.opencontainers.image.version": "1.0.0"}
PLATFORMS: tuple[Platform, ...] = ("linux/amd64", "linux/arm64")
