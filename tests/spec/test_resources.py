"""Shipped folders are found in a checkout and in an installed wheel, and a stranger's folder is not taken for one."""

import shutil
from pathlib import Path

import pytest

import builder.resources
from builder.errors import EnvironmentFault
from builder.resources import shipped


def test_in_a_checkout():
    assert (shipped("templates") / "init" / "spec.toml.j2").is_file()
    assert (shipped("kernels") / "runtime" / "__init__.py").is_file()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "builder"
    package.mkdir(parents=True)
    shutil.copy(Path(builder.resources.__file__), package / "resources.py")
    monkeypatch.setattr(builder.resources, "_PACKAGE", package)
    return package


def test_in_an_installed_wheel(installed):
    (installed / "_shipped" / "nix").mkdir(parents=True)
    assert shipped("nix") == installed / "_shipped" / "nix"


def test_a_neighbour_in_site_packages_is_not_ours(installed):
    (installed.parent / "templates").mkdir()
    with pytest.raises(EnvironmentFault, match="lacks its 'templates' folder"):
        shipped("templates")
    (installed.parent / "pyproject.toml").write_text("")
    assert shipped("templates") == installed.parent / "templates"
