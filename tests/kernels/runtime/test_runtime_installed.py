"""Versions of distributions: those that importlib.metadata finds."""

import importlib.metadata
import sys

import pytest

from kernels.runtime.installed import normalised, versions


def test_versions_are_those_that_python_itself_finds():
    wheels = {}
    for one in importlib.metadata.distributions():
        if one.read_text("WHEEL"):
            wheels.setdefault(normalised(one.metadata["Name"]), one.version)
    assert len(wheels) > 20
    assert versions(wheels) == wheels
    assert versions(["jaxlib", "no-such-thing"]) == {"jaxlib": wheels["jaxlib"]}


@pytest.mark.parametrize(
    ("folder", "content", "found"),
    [
        ("a_b-1.0.dist-info", "Metadata-Version: 2.1\nName: a.b\nVersion: 1.0+cpu\n\nText\n", {"a-b": "1.0+cpu"}),
        ("A.B-1.0.dist-info", "Name: A.B\r\nversion:\t1!2\r\n\r\n", {"a-b": "1!2"}),
        ("a_b-1.0.dist-info", "Name: a_b\n\nVersion: 3\n", {}),
        ("a_b-1.0.dist-info", "Name: a_b\nRequires-Dist: x\nX-Version: 3\n", {}),
        ("a_b-1.0.dist-info", None, {}),
        ("a_b-1.0.egg-info", "Name: a_b\nVersion: 1.0\n", {}),
        ("a-1.0.dist-info", "Name: a\nVersion: 1.0\n", {}),
    ],
)
def test_the_headers_of_a_wheel_are_read(tmp_path, monkeypatch, folder, content, found):
    (tmp_path / "site" / folder).mkdir(parents=True)
    if content is not None:
        (tmp_path / "site" / folder / "METADATA").write_bytes(content.encode())
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path / "site")])
    assert versions({"a-b"}) == found


def test_the_first_on_the_path_counts(tmp_path, monkeypatch):
    for site, version in (("one", "1"), ("two", "2")):
        (tmp_path / site / f"x-{version}.dist-info").mkdir(parents=True)
        (tmp_path / site / f"x-{version}.dist-info" / "METADATA").write_text(f"Name: x\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "two"), str(tmp_path / "one")])
    assert versions({"x"}) == {"x": "2"}
