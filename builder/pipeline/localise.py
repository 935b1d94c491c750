"""From a verification's differences to the first operations that parted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder.backends.roots import image_root
from builder.backends.workplace import workplace
from builder.harness.job import Case
from builder.harness.localise_verification import localisations
from builder.harness.report_model import Located
from builder.harness.verdict import Verification
from builder.hosts.host import Variant
from builder.oci.image import Image
from builder.pipeline.verify import images_of
from builder.platforms import Platform
from builder.progress import Progress
from builder.store.blobs import Store

KERNEL = "opt/kernel"
"""Where an image holds the kernel's own files."""


def located_in(
    found: Verification,
    image: Image,
    cases: Sequence[Case],
    variants: Sequence[Variant],
    *,
    store: Store,
    timeout: float,
    progress: Progress,
) -> tuple[Located, ...]:
    """Search for the first operations at which the runs of a verification part; see `localisations`.

    Args:
        found: the verification.
        image: that was run.
        cases: on these inputs.
        variants: on these hosts, which are still open.
        store: has the image; traced runs leave nothing there.
        timeout: seconds that one run may take.
        progress: sees the search.
    """
    images = images_of(image)
    layers = {one.platform: one.layers for one in images}

    def kernel(platform: Platform) -> Path:
        return image_root(store, layers[platform]) / KERNEL

    with workplace(store) as folder:
        return localisations(
            found, images, cases, variants, kernels=kernel, folder=folder, timeout=timeout, progress=progress
        )
