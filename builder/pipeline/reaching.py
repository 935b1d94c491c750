"""From an image's digest to what a run of it reaches of its doubtful code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.audit.image import Contents
from builder.audit.reached import Recording
from builder.audit.recording import recorded
from builder.harness.simulate import MODELS
from builder.machine import Machine
from builder.oci.image import Image
from builder.pipeline.attachments import lock_of
from builder.pipeline.fetching import bring
from builder.pipeline.run import index_of, runnable
from builder.platforms import Platform, host_platform
from builder.progress import Progress
from builder.store.blobs import Store


def reached(
    image: Image,
    platform: Platform,
    held: Contents,
    inputs: Sequence[Path],
    *,
    store: Store,
    machine: Machine,
    progress: Progress,
) -> Recording:
    """Run one platform's image on the first of its simulated CPUs, and record which functions it goes into.

    Args:
        image: in the store.
        platform: of the image that runs.
        held: what that image's audit found.
        inputs: files for `/io/in`.
        store: has the image.
        machine: where the emulator may be fetched from.
        progress: sees the runs.

    Raises:
        UsageError: an input is no file.
        KernelError: the run fails.
        EnvironmentFault: this machine cannot run it, or the store has no lock for the image.
    """
    lock = lock_of(store, image)
    tools = tuple(item for item in lock.artifact if "tools" in item.roles and host_platform() in item.platforms)
    bring(tools, lock, machine, store, progress)
    return recorded(
        store,
        runnable(image.manifest(platform), index_of(image)),
        held,
        inputs,
        cpu=MODELS[platform][0],
        tools=tools,
        progress=progress,
    )
