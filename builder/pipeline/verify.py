"""From an image's digest to a verification: which inputs, which hosts, and what they need to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from builder.determinism.held import holdings
from builder.errors import UsageError
from builder.harness.compare.parted import differences
from builder.harness.job import Case, case
from builder.harness.report import Report, from_runs
from builder.harness.simulate import simulated
from builder.harness.varied import varied
from builder.harness.verify import Settings, verify
from builder.hosts.fleet import DockerTable, Fleet, LocalTable, QemuTable, variations
from builder.hosts.host import Host, Runnable, Variant
from builder.hosts.local import Local
from builder.hosts.qemu import Qemu
from builder.machine import Machine, usable_cores
from builder.oci.image import Image
from builder.pipeline.attachments import lock_of
from builder.pipeline.fetching import bring
from builder.pipeline.requirements import spec_of
from builder.pipeline.run import index_of, runnable
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.spec.model import Spec
from builder.store.artifact import Artifact
from builder.store.blobs import Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which hosts are asked for.

    Attributes:
        fleet: those of a file.
        simulate: whether the built-in ones are.
        only: patterns for names, any of which lets a host in; empty: all of them.
        localise: whether hosts that part run again, traced.
    """

    fleet: Fleet | None = None
    simulate: bool = True
    only: Sequence[str] = ()
    localise: bool = True


def cases_of(spec: Spec, folder: Path) -> list[Case]:
    """A spec's examples, or one case without inputs if it has none.

    Args:
        spec: the spec.
        folder: that it is in.

    Raises:
        UsageError: an example's file is missing.
    """
    found = [case(name, [folder / table.inputs]) for name, table in sorted(spec.examples.items())]
    if not found and spec.inputs:
        raise UsageError("the spec has no examples to run", hint="give inputs with --inputs FILE")
    return found or [case("no-inputs", [])]


def given(inputs: Sequence[Path]) -> list[Case]:
    """One case of these files, which together are one set of inputs.

    Raises:
        UsageError: one of them is no file.
    """
    return [case(inputs[0].stem if len(inputs) == 1 else "inputs", inputs)]


def images_of(image: Image) -> list[Runnable]:
    """Every platform's image, as hosts run it."""
    return [runnable(item, index_of(image)) for item in image.manifests.values()]


def examine(
    image: Image,
    cases: Sequence[Case],
    wanted: Wanted,
    settings: Settings,
    *,
    store: Store,
    machine: Machine,
    progress: Progress,
) -> Report:
    """Run an image everywhere, compare, and where bits differ, say which and since which operation.

    Args:
        image: what to run.
        cases: on which inputs.
        wanted: on which hosts.
        settings: how to go about it.
        store: has the image, and keeps the runs.
        machine: where emulators are fetched from.
        progress: sees it all.

    Raises:
        UsageError: there are no such hosts, or no such inputs.
        KernelError: the inputs do not fit the kernel.
        EnvironmentFault: an emulator cannot be had.
    """
    images = images_of(image)
    with opened(image, wanted, store=store, machine=machine, progress=progress) as variants:
        found = verify(image.digest, images, cases, variants, settings=settings, store=store, progress=progress)
        parted = differences(found, progress=progress)
        spec = spec_of(store, image.digest)
        influences = varied(found, [item for platform in image.manifests for item in holdings(spec, platform)])
        if not parted or not wanted.localise:
            return from_runs(found, parted, influences=influences)
        from builder.pipeline.localise import located_in  # noqa: PLC0415 - most runs agree

        located = located_in(found, image, cases, variants, store=store, timeout=settings.timeout, progress=progress)
    return from_runs(found, parted, localisations=located, influences=influences)


@contextmanager
def opened(
    image: Image, wanted: Wanted, *, store: Store, machine: Machine, progress: Progress
) -> Iterator[list[Variant]]:
    """The hosts that are asked for, each under its conditions, closed at the end.

    Hosts of a platform that the image is not for are left out, with a warning.

    Args:
        image: that they are to run.
        wanted: which ones.
        store: has the image and the tools.
        machine: where emulators are fetched from.
        progress: sees the fetching, and is warned.

    Raises:
        UsageError: no host is left, or two have one name.
        EnvironmentFault: an emulator cannot be had.
    """
    makers = _Makers(image, store)
    variants = [*(_of_fleet(wanted.fleet, makers) if wanted.fleet else ())]
    if wanted.simulate:
        variants += _built_in(image, makers)
    chosen = [item for item in variants if not wanted.only or any(fnmatchcase(item.name, one) for one in wanted.only)]
    foreign = [item.name for item in chosen if item.host.platform not in image.manifests]
    if foreign:
        progress.warn(f"the image is not for the platform of {', '.join(foreign)}")
    left = [item for item in chosen if item.host.platform in image.manifests]
    _require_names(left, variants)
    try:
        if any(item.host.kind == "qemu" for item in left):
            bring(makers.tools, lock_of(store, image), machine, store, progress)
        yield left
    finally:
        for host in makers.made.values():
            host.close()


class _Makers:
    """Makes each host once; all emulators share the lock's tools."""

    def __init__(self, image: Image, store: Store) -> None:
        self._image = image
        self._store = store
        self._tools: tuple[Artifact, ...] | None = None
        self.made: dict[str, Host] = {}

    @property
    def tools(self) -> tuple[Artifact, ...]:
        """The emulators that the image's lock names for this machine."""
        if self._tools is None:
            here = host_platform()
            self._tools = tuple(
                item
                for item in lock_of(self._store, self._image).artifact
                if "tools" in item.roles and here in item.platforms and item.name.startswith("qemu-user")
            )
        return self._tools

    def local(self, name: str) -> Host:
        return self.made.setdefault(name, Local(name, self._store))

    def qemu(self, name: str, platform: Platform) -> Host:
        return self.made.setdefault(name, Qemu(name, platform, self._store, self.tools))

    def docker(self, name: str, table: DockerTable) -> Host:
        from builder.hosts.docker import Docker  # noqa: PLC0415 - docker-py takes a while to import

        return self.made.setdefault(name, Docker(name, table.platform or host_platform(), self._store, table.url))


def _built_in(image: Image, makers: _Makers) -> list[Variant]:
    here = host_platform()
    hosts: Mapping[Platform, tuple[Host, Host]] = {
        platform: (makers.local("this machine"), makers.qemu(f"emulated {platform}", platform))
        for platform in image.manifests
    }
    return simulated(hosts, usable_cores(), here)


def _of_fleet(fleet: Fleet, makers: _Makers) -> Iterator[Variant]:
    for name, table in fleet.hosts.items():
        match table:
            case LocalTable():
                host = makers.local(name)
            case QemuTable():
                host = makers.qemu(name, table.platform)
            case DockerTable():
                host = makers.docker(name, table)
        for ending, conditions in variations(table).items():
            yield Variant(f"{name}{ending}", host, conditions)


def _require_names(left: Sequence[Variant], all_of_them: Sequence[Variant]) -> None:
    names = [item.name for item in left]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"two hosts are called {', '.join(twice)}", hint="rename the one in the file: built-in hosts have theirs"
        )
    if not left:
        known = ", ".join(item.name for item in all_of_them)
        raise UsageError("no host is left to run on", hint=f"there are {known}" if known else None)
