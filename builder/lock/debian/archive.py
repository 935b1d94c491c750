"""What a Debian release offers right now: signed indexes fetched, checked, and turned into universes.

A suite is read as a chain: `InRelease` by its signature, `Packages` by the hash that `InRelease` gives, each deb later
by the hash that `Packages` gives. Any mirror may serve any of it, so a mirror that stalls, lies or lags costs time and
nothing else: the next one is asked. `InRelease` is read once for all architectures, so that they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from builder.errors import FetchError, IntegrityError, KbuildError, ResolveError
from builder.lock.debian.keyring import certificates
from builder.lock.debian.mirror import NotThereError, fetch
from builder.lock.debian.packages import MAX_COMPRESSED, DebianRegistry, Packages, decompress
from builder.lock.debian.release import MAX_INRELEASE, Listed, Release, verify_inrelease
from builder.lock.debian.universe import Universe
from builder.lock.model import Index
from builder.progress import Progress
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.client import Client, redacted

if TYPE_CHECKING:
    from pysequoia import Cert

Bases = Callable[[DebianRegistry], Sequence[str]]
"""Base URLs of a registry, best first."""

_T = TypeVar("_T")

_NO_BASE = "set KBUILD_DEBIAN_MIRROR and KBUILD_DEBIAN_SECURITY_MIRROR, or add Debian to apt's sources"
_NO_UPDATES = "set os.updates = false: sid has no such suites, and a release that is no longer supported loses them"
_NO_RELEASE = "write os.release as a codename that the archive has, such as trixie or bookworm"


@dataclass(frozen=True, slots=True)
class _Suite:
    """One suite as one `InRelease` states it, and the mirrors, the one it came from first."""

    registry: DebianRegistry
    release: Release
    index: Index
    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """Where Debian is read from.

    Args:
        bases: the mirrors of each registry.
        client: what connects to them.
        store: keeps the compressed indexes, by hash.
        progress: is told.
        now: the moment at which indexes must be in force; None when `bases` are of an archive of the past.
        patience: how long to bear with a mirror.
        certs: the certificates to believe.
    """

    bases: Bases
    client: Client
    store: Store
    progress: Progress
    now: datetime | None
    patience: Patience = Patience()  # noqa: RUF009  # frozen
    certs: Callable[[], Sequence[Cert]] = certificates

    def universes(
        self, release: str, *, updates: bool, architectures: Sequence[str]
    ) -> tuple[dict[str, Universe], tuple[Index, ...]]:
        """Read a release.

        Args:
            release: a codename, or a suite name such as `stable`, which stands for the codename that it has now.
            updates: also read the release's `-updates` and `-security` suites.
            architectures: Debian's names of them.

        Returns:
            The universe of each architecture, and the signed indexes that they came from, sorted by registry and
            suite.

        Raises:
            ResolveError: there is no such release, suite or architecture.
            FetchError: no mirror could be reached.
            IntegrityError: no mirror served something that Debian signed and that is in force.
        """
        main = self._suite("debian", release, _NO_RELEASE)
        if main.release.codename != release:
            # A suite's name moves on; its codename stays what the lock says.
            main = self._suite("debian", main.release.codename, _NO_RELEASE)
        codename = main.release.codename
        others: list[tuple[DebianRegistry, str]] = (
            [("debian", f"{codename}-updates"), ("debian-security", f"{codename}-security")] if updates else []
        )
        with ThreadPoolExecutor(4) as threads:
            suites = [main, *threads.map(lambda item: self._suite(item[0], item[1], _NO_UPDATES), others)]
            wanted = [(suite, architecture) for architecture in architectures for suite in suites]
            read = list(threads.map(lambda item: self._packages(*item), wanted))
        universes = {
            architecture: Universe(architecture, [item for item in read if item.architecture == architecture])
            for architecture in architectures
        }
        return universes, tuple(sorted((suite.index for suite in suites), key=lambda item: (item.registry, item.suite)))

    def _suite(self, registry: DebianRegistry, name: str, hint: str) -> _Suite:
        """A suite's `InRelease`, from the first mirror that has a good one."""
        bases = tuple(base.rstrip("/") for base in self.bases(registry))
        path = f"dists/{name}/InRelease"

        def attempt(base: str) -> _Suite:
            data = fetch(self.client, f"{base}/{path}", limit=MAX_INRELEASE, patience=self.patience)
            release = verify_inrelease(data, self.certs(), asked=name, now=self.now)
            index = Index(
                registry=registry,
                suite=release.codename,
                path=path,
                sha256=sha256(data).hexdigest(),
                size=len(data),
                date=f"{release.date:%Y-%m-%dT%H:%M:%SZ}",
            )
            return _Suite(registry, release, index, (base, *(other for other in bases if other != base)))

        with self.progress.step(f"Debian {name}"):
            return self._first(f"InRelease of {name} in registry {registry}", bases, attempt, hint)

    def _packages(self, suite: _Suite, architecture: str) -> Packages:
        """The packages of a suite's `main`, from the store or the first mirror that serves what is signed."""
        codename, files = suite.release.codename, suite.release.files
        whole = f"main/binary-{architecture}/Packages"
        path = next((path for path in (f"{whole}.xz", f"{whole}.gz") if path in files), None)
        if path is None:
            raise ResolveError(
                f"{codename} has no packages for {architecture}, but for {', '.join(suite.release.architectures)}",
                where=f"InRelease of {codename}",
                hint="leave that platform out of kernel.platforms, or choose another os.release",
            )
        listed, where = files[path], f"Packages of {codename} for {architecture}"
        if listed.size > MAX_COMPRESSED:
            raise IntegrityError(f"{path} would have {listed.size} bytes", where=where, hint=_NO_RELEASE)

        def attempt(base: str) -> bytes:
            data = self._fetch_listed(f"{base}/dists/{codename}", path, listed, by_hash=suite.release.by_hash)
            content = decompress(data, path, listed, files.get(whole), where=where)
            self.store.add(data)
            return content

        with self.progress.step(where, listed.size) as step:
            content = self._stored(path, listed, files.get(whole), where)
            if content is not None:
                step.note("cached")
            else:
                content = self._first(where, suite.bases, attempt, "try again: the mirrors are being updated")
            step.advance(listed.size)
        return Packages(content, registry=suite.registry, suite=codename, architecture=architecture)

    def _stored(self, path: str, listed: Listed, whole: Listed | None, where: str) -> bytes | None:
        if not self.store.has(listed.sha256):
            return None
        with suppress(IntegrityError):  # the store has put the damaged blob aside; it is fetched again
            with self.store.open(listed.sha256) as blob:
                data = blob.read()
            return decompress(data, path, listed, whole, where=where)
        return None

    def _fetch_listed(self, folder: str, path: str, listed: Listed, *, by_hash: bool) -> bytes:
        """A listed file: by its hash where the archive keeps it so, since the plain path changes under a reader."""
        if by_hash:
            parent = path.rpartition("/")[0]
            with suppress(NotThereError):
                url = f"{folder}/{parent}/by-hash/SHA256/{listed.sha256}"
                return fetch(self.client, url, limit=listed.size, patience=self.patience)
        return fetch(self.client, f"{folder}/{path}", limit=listed.size, patience=self.patience)

    def _first(self, what: str, bases: Sequence[str], attempt: Callable[[str], _T], missing: str) -> _T:
        """The first attempt that succeeds; else the gravest reason, naming each mirror's."""
        failures: list[KbuildError] = []
        for base in bases:
            try:
                return attempt(base)
            except (FetchError, IntegrityError) as error:
                failures.append(error)
                self.progress.detail(f"{redacted(base)}: {error.message}")
        if not failures:
            raise FetchError(f"no mirror is known for {what}", hint=_NO_BASE)
        raise _verdict(what, list(zip(bases, failures, strict=True)), missing) from failures[-1]


def _verdict(what: str, failures: Iterable[tuple[str, KbuildError]], missing: str) -> KbuildError:
    """One error out of each mirror's: lies weigh more than silence, and silence more than a plain no."""
    failures = list(failures)
    told = "; ".join(f"{redacted(base)} says: {error.message}" for base, error in failures)
    lies = [error for _, error in failures if isinstance(error, IntegrityError)]
    if lies:
        return IntegrityError(f"no mirror serves a good {what}: {told}", hint=lies[0].hint)
    if all(isinstance(error, NotThereError) for _, error in failures):
        return ResolveError(f"no mirror has {what}: {told}", hint=missing)
    return FetchError(f"no mirror serves {what}: {told}", hint=failures[0][1].hint)
