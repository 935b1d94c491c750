"""From an image's digest to a finished run on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.backends.roots import LayerBlob
from builder.hosts.host import NOTHING, Runnable, RunResult
from builder.hosts.local import run
from builder.machine import Machine
from builder.oci.image import TITLE, Image, Manifest, bare, load
from builder.oci.manifest import INDEX
from builder.pipeline.attachments import lock_of
from builder.pipeline.fetching import bring
from builder.plan import numerics
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store


def run_image(
    digest: str,
    inputs: Sequence[Path],
    *,
    platform: Platform | None,
    output: Path | None,
    requests: Mapping[str, bytes] = NOTHING,
    store: Store,
    machine: Machine,
    progress: Progress,
) -> RunResult:
    """Run an image of the store once.

    Args:
        digest: of an index or of one platform's manifest, or its beginning.
        inputs: files for `/io/in`.
        platform: which image of the index; default this machine's, or the only one.
        output: folder for the results; a folder of the store if None.
        requests: more files for `/io/in`, by names that begin with a dot.
        store: has the image.
        machine: where an emulator may be fetched from, if one is needed.
        progress: sees the run.

    Raises:
        UsageError: there is no such image, platform or input.
        KernelError: the kernel or its inputs are at fault.
        EnvironmentFault: this machine cannot run it.
    """
    image = load(store, digest)
    host = host_platform()
    chosen = platform or _natural(image, host)
    manifest = image.manifest(chosen)
    tools: tuple[Artifact, ...] = ()
    if chosen != host:
        lock = lock_of(store, image)
        tools = tuple(item for item in lock.artifact if "tools" in item.roles and host in item.platforms)
        bring(tools, lock, machine, store, progress)
    return run(
        store, runnable(manifest, index_of(image)), inputs, output, tools=tools, requests=requests, progress=progress
    )  # fmt: skip


def _natural(image: Image, host: Platform) -> Platform:
    """This machine's platform, or else the first that the image is for."""
    return host if host in image.manifests else next(iter(image.manifests))


def index_of(image: Image) -> str | None:
    """The digest of an image's index; None for a single manifest, which may be in any number of indexes."""
    return image.digest if image.media_type == INDEX else None


def runnable(manifest: Manifest, index: str | None = None) -> Runnable:
    """What a host needs to know of one platform's image, and of the index that it was found by."""
    config = manifest.image.config
    return Runnable(
        name=manifest.annotations.get(TITLE, "image"),
        platform=manifest.platform,
        digest=manifest.digest,
        layers=tuple(LayerBlob(bare(layer.digest), bare(layer.diff_id)) for layer in manifest.image.layers),
        entrypoint=config.entrypoint,
        environment=config.environment,
        working_dir=config.working_dir,
        index=index,
        numerics=config.labels.get(numerics.LABEL),
    )
