"""What kbuild needs of a machine: each thing is looked for as a build would, and nothing stops the rest."""

import os

import pytest

from builder.hosts import doctor
from builder.machine import from_environment


def examined(tmp_path, **environ):
    settings = {"HOME": str(tmp_path), "KBUILD_STORE": str(tmp_path / "store"), "PATH": os.environ["PATH"], **environ}
    return {item.name: item for item in doctor.examine(from_environment(settings), settings)}


def test_this_machine(tmp_path):
    found = examined(tmp_path)
    assert list(found) == [
        "platform", "sandbox", "store", "disk", "layer codec", "uv", "Debian packages", "Python packages",
        "docker", "nix",
    ]  # fmt: skip
    assert [name for name, item in found.items() if item.optional] == ["docker", "nix"]
    for name in ("platform", "store", "layer codec", "uv"):
        assert found[name].met, found[name]
    assert found["store"].found == str(tmp_path / "store")
    assert all(item.met or item.remedy for item in found.values())


def test_a_store_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    found = examined(tmp_path, KBUILD_STORE=str(tmp_path / "file" / "store"))
    assert not found["store"].met
    assert "something that is not a folder stands in the way" in found["store"].found
    assert "KBUILD_STORE" in found["store"].remedy
    assert found["uv"].met


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "FREE", 1 << 62)
    disk = examined(tmp_path)["disk"]
    assert not disk.met
    assert "kbuild store gc" in disk.remedy


def test_no_engine_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = examined(tmp_path)
    for name in ("docker", "nix"):
        assert not found[name].met
        assert found[name].optional
        assert found[name].remedy
    assert str(tmp_path) in found["docker"].found


def test_where_packages_come_from_without_its_passwords(tmp_path):
    index = "https://user:secret@pypi.example.org/simple"
    mirror = "https://user:secret@mirror.example.org/debian"
    found = examined(tmp_path, KBUILD_PYPI_INDEX=index, KBUILD_DEBIAN_MIRROR=mirror)
    assert "https://pypi.example.org/simple" in found["Python packages"].found
    assert found["Debian packages"].found.startswith("https://mirror.example.org/debian")
    assert "secret" not in str(found)


def test_offline(tmp_path):
    found = examined(tmp_path, KBUILD_OFFLINE="1")
    assert "offline" in found["Debian packages"].found
    assert "offline" in found["Python packages"].found


@pytest.mark.docker
def test_an_engine_says_what_it_is(tmp_path):
    assert " on linux/" in examined(tmp_path)["docker"].found


@pytest.mark.nix
def test_nix_says_what_it_is(tmp_path):
    assert examined(tmp_path)["nix"].found[0] in "23456789"
