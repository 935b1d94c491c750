"""The image's bill of materials, from its lock: CycloneDX 1.6 as JSON.

Equal locks and images give equal bytes: the serial number comes from the image's digest, the time is the lock's epoch,
components are sorted, and the whole is RFC 8785 JSON.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from builder.lock.model import Lock
from builder.oci.image import TITLE, VERSION, Image
from builder.store.artifact import Artifact

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

MEDIA_TYPE = "application/vnd.cyclonedx+json"

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6.schema.json")
_POCKETS = ("-updates", "-security")


def sbom(lock: Lock, image: Image) -> bytes:
    """The bill of materials of an image over all its platforms.

    What the image holds is listed with scope `required`; what only compiled it, with scope `excluded`. kbuild's own
    tools are left out: no byte of theirs is in the image.

    Args:
        lock: what the image was built from.
        image: the result; its digest, title and version name the bill's subject.
    """
    import rfc8785  # noqa: PLC0415
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.output import make_outputter  # noqa: PLC0415
    from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    title = image.annotations.get(TITLE, "image")
    subject = Component(
        name=title,
        version=image.annotations.get(VERSION),
        type=ComponentType.CONTAINER,
        bom_ref=image.digest,
        purl=PackageURL("oci", name=title, version=image.digest),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.removeprefix("sha256:"))],
    )
    components = [_component(item, lock) for item in lock.artifact if item.roles != ("tools",)]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, image.digest),
        metadata=BomMetaData(component=subject, timestamp=datetime.fromtimestamp(lock.epoch, UTC)),
        components=components,
    )
    bom.register_dependency(subject, _required(components))
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    return rfc8785.dumps(document)


def _required(components: Iterable[Component]) -> list[Component]:
    from cyclonedx.model.component import ComponentScope  # noqa: PLC0415

    return [component for component in components if component.scope is ComponentScope.REQUIRED]


def _component(item: Artifact, lock: Lock) -> Component:
    from cyclonedx.model import (  # noqa: PLC0415
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        Property,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentScope, ComponentType  # noqa: PLC0415

    facts = {
        "kbuild:registry": item.registry,
        "kbuild:path": item.path,
        "kbuild:size": str(item.size),
        "kbuild:roles": " ".join(sorted(item.roles)),
        "kbuild:platforms": " ".join(sorted(item.platforms)),
    }
    if item.member:
        facts |= {
            "kbuild:member:path": item.member.path,
            "kbuild:member:sha256": item.member.sha256,
            "kbuild:member:size": str(item.member.size),
        }
    links = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(item.path))]
    return Component(
        name=item.name,
        version=item.version,
        type=ComponentType.MACHINE_LEARNING_MODEL if item.kind == "weights" else ComponentType.LIBRARY,
        bom_ref=f"{item.kind}:{item.name}:{item.sha256}",
        scope=ComponentScope.REQUIRED if "image" in item.roles else ComponentScope.EXCLUDED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=item.sha256)],
        purl=_purl(item, lock),
        external_references=links if item.registry == "url" else [],
        properties=[Property(name=name, value=value) for name, value in facts.items()],
    )


def _purl(item: Artifact, lock: Lock) -> PackageURL | None:
    """The package URL that scanners look up; none for what came from no registry."""
    from packageurl import PackageURL  # noqa: PLC0415

    if item.kind == "deb":
        qualifiers = {"arch": item.architecture}
        if release := _release(lock):
            qualifiers["distro"] = release
        return PackageURL("deb", "debian", item.name, item.version, qualifiers)
    if item.registry == "pypi":
        project, _, file_name = item.path.partition("/")
        return PackageURL("pypi", None, project, item.version, {"file_name": file_name})
    return None


def _release(lock: Lock) -> str | None:
    """The Debian release's code name: the main archive's suite that is no pocket of another."""
    suites = sorted(index.suite for index in lock.index if index.registry == "debian")
    return next((suite for suite in suites if not suite.endswith(_POCKETS)), None)
