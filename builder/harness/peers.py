"""Which platforms' runs are held to each other. Pure.

Images of two platforms are two programs, and what they give is not compared, with one exception: a kernel of the
profile `portable` promises the same bits everywhere, by a numeric specification that all its images name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from builder.hosts.host import Runnable
from builder.platforms import Platform

Peers = Mapping[Platform, tuple[Platform, ...]]
"""By platform, those whose runs are compared with its own: itself among them, sorted."""

STRANGERS: Final[Peers] = MappingProxyType({})
"""Each platform by itself."""


def peers(images: Iterable[Runnable]) -> Peers:
    """By the images' own labels, never by a host's word, which platforms compute by one numeric specification."""
    found = {image.platform: image.numerics for image in images}
    return {
        platform: tuple(sorted(other for other in found if other == platform or (own and found[other] == own)))
        for platform, own in found.items()
    }


def among(known: Peers, platform: Platform) -> tuple[Platform, ...]:
    """The platforms whose runs those of one are compared with: itself alone where nothing else is known."""
    return known.get(platform, (platform,))
