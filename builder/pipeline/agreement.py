"""Several builders, one digest: what each compiled is held against what the first one did, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

from builder.errors import NotReproducible
from builder.layers.difference import first_difference
from builder.layers.entry import Layer
from builder.layers.unpack import open_tar
from builder.plan.model import Plan
from builder.store.blobs import Store


def require_agreement(
    plan: Plan, left: Mapping[str, Layer], right: Mapping[str, Layer], *, names: tuple[str, str], store: Store
) -> None:
    """Compare every layer of a plan as two builders made it.

    Args:
        plan: says which layers there are, and in which order to look.
        left: layers by their plan's key.
        right: the other builder's.
        names: of the two builders.
        store: has the layers' blobs.

    Raises:
        NotReproducible: they part; names the platform, the layer, the file and the bytes.
    """
    for image in plan.platforms:
        for layer in image.layers:
            mine, other = left[layer.key()], right[layer.key()]
            if mine.digest != other.digest:
                where = f"{plan.name} {image.platform}, layer {layer.name}"
                raise _parted(where, mine, other, names=names, store=store)


def _parted(where: str, mine: Layer, other: Layer, *, names: tuple[str, str], store: Store) -> NotReproducible:
    one, two = names
    if mine.diff_id == other.diff_id:
        what = f"its tars are the same, but compressed to {mine.digest} by {one} and to {other.digest} by {two}"
    else:
        with open_tar(store, mine) as left, open_tar(store, other) as right:
            found = first_difference(left, right)
        what = found.sentence(one, two) if found else f"{one} made {mine.diff_id}, {two} made {other.diff_id}"
    blobs = " ".join(str(store.blob_path(item.digest.removeprefix("sha256:"))) for item in (mine, other))
    return NotReproducible(
        f"{one} and {two} do not build the same: {what}",
        where=where,
        hint=f"one of the two builders is not closed, or what it runs is not deterministic; both layers: {blobs}",
    )
