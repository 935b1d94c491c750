from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_index import FakeIndex

from builder.machine import Machine
from builder.store.blobs import Store

sys.path.append(str(Path(__file__).parent / "debian"))  # its archive in miniature serves whole resolutions too


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def machine(store: Store) -> Machine:
    return Machine(store=store.root, jobs=2, offline=False)


@pytest.fixture
def offline(store: Store) -> Machine:
    return Machine(store=store.root, jobs=2, offline=True)


@pytest.fixture
def index(tmp_path: Path) -> FakeIndex:
    return FakeIndex(tmp_path / "index")
