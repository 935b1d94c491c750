"""What tests may ask of a machine is looked for before they run."""

from __future__ import annotations

from pathlib import Path

import tomli

from .conftest import CHECKS


def test_every_marker_but_slow_has_its_check() -> None:
    project = tomli.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    markers = {line.partition(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]}
    assert markers - {"slow"} == set(CHECKS)
