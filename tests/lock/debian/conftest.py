from __future__ import annotations

from pathlib import Path

import pytest
from pysequoia import Cert, Tsk

from builder.store.blobs import Store


@pytest.fixture(scope="session")
def key() -> Tsk:
    return Tsk.generate("Archive in Miniature <archive@example.org>")


@pytest.fixture(scope="session")
def certs(key: Tsk) -> tuple[Cert, ...]:
    return (key.extract_certificate(),)


@pytest.fixture(scope="session")
def other_key() -> Tsk:
    return Tsk.generate("Someone Else <else@example.org>")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")
