from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from benches import Bench, bench
from small_roots import Real, backend_of, shell_artifact

from builder.backends.embedded import EmbeddedBackend
from builder.platforms import Platform, host_platform
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


@pytest.fixture(scope="session")
def benches(shared: Path) -> Callable[..., Bench]:
    """A function from a compiler's name and platforms (this machine's alone if none) to a bench that has it.

    All processes of a test run have one store: what one of them fetched and unpacked, others find.
    """
    folder = shared / "real"
    folder.mkdir(exist_ok=True)
    store = Store(folder / "store")

    @cache
    def made(compiler: str, *platforms: Platform) -> Bench:
        return bench(store, folder, compiler, platforms or (host_platform(),))

    return made


@pytest.fixture(scope="session")
def real(benches: Callable[..., Bench]) -> Real:
    found = benches("gcc")
    image = [item for item in found.artifacts("image") if item.kind == "deb"]
    found.fetch(image)
    return Real(found.store, tuple(image), found.compiler().root)
