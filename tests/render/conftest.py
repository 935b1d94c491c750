from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.append(str(Path(__file__).parents[1] / "layers"))  # its trees, debs and wheels serve here too

from laying import TEMPLATES


@pytest.fixture(scope="session")
def lay_module() -> ModuleType:
    """lay.py as a module, to be called many times."""
    spec = importlib.util.spec_from_file_location("lay", TEMPLATES / "lay.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["lay"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
