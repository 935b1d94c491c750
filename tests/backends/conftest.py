from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from small_roots import Real, backend_of, shell_artifact

from builder.backends.embedded import EmbeddedBackend
from builder.lock.resolve import resolve
from builder.machine import from_environment
from builder.pipeline.fetching import bring
from builder.platforms import host_platform
from builder.progress import Silent
from builder.spec.load import load
from builder.store.artifact import Artifact
from builder.store.blobs import Store


@pytest.fixture(scope="session")
def shell_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store whose root folder of the shell is made once for all tests."""
    return Store(tmp_path_factory.mktemp("shell") / "store")


@pytest.fixture
def store(shell_store: Store) -> Store:
    return shell_store


@pytest.fixture
def shell(store: Store) -> Artifact:
    return shell_artifact(store)


@pytest.fixture
def backend(store: Store, shell: Artifact) -> EmbeddedBackend:
    return backend_of(store, [shell])


SPEC = """\
schema = 1
[kernel]
name = "real"
version = "1.0.0"
entry = "model:f"
platforms = ["{platform}"]
[native.f]
sources = ["f.cc"]
[inputs.x]
dtype = "float32"
[outputs.y]
dtype = "float32"
"""


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    folder = tmp_path_factory.mktemp("real")
    (folder / "spec.toml").write_text(SPEC.format(platform=host_platform()))
    store = Store(folder / "store")
    machine = from_environment(os.environ)
    lock = resolve(
        load(folder / "spec.toml"), folder, machine=machine, store=store, progress=Silent(),
        previous=None, upgrade=None, now=datetime.now(UTC),
    )  # fmt: skip
    wanted = [item for item in lock.artifact if item.kind == "deb" and "tools" not in item.roles]
    bring(wanted, lock, machine, store, Silent())
    return Real(
        store,
        tuple(item for item in wanted if "image" in item.roles),
        tuple(item for item in wanted if "toolchain" in item.roles),
    )
