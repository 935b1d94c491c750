"""One stanza per artifact: what several resolutions found, said once, without claiming more than they did."""

from __future__ import annotations

from collections.abc import Iterable

from builder.lock.rules import artifact_order
from builder.platforms import Platform
from builder.store.artifact import Artifact, Role


def merged(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Join equal artifacts, their roles and platforms united, sorted as a lock has them.

    A stanza says that each of its platforms needs the artifact in each of its roles. Where that would say too much (a
    compiler's package on one platform that is also the image's on another), there are two stanzas.
    """
    needs: dict[Artifact, dict[Platform, set[Role]]] = {}
    for item in artifacts:
        bare = item.model_copy(update={"roles": (), "platforms": ()})
        for platform in item.platforms:
            needs.setdefault(bare, {}).setdefault(platform, set()).update(item.roles)
    found = []
    for bare, roles_of in needs.items():
        groups: dict[tuple[Role, ...], list[Platform]] = {}
        for platform in sorted(roles_of):
            groups.setdefault(tuple(sorted(roles_of[platform])), []).append(platform)
        found += [
            bare.model_copy(update={"roles": roles, "platforms": tuple(platforms)})
            for roles, platforms in groups.items()
        ]
    return tuple(sorted(found, key=artifact_order))
