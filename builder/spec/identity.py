"""A spec's identity: what it means, never how its file is written."""

from __future__ import annotations

import hashlib

from builder.spec.model import Spec


def canonical(spec: Spec) -> bytes:
    """The spec in RFC 8785 form, every default filled in, by the names that the TOML uses.

    Two files that mean the same give the same bytes, whatever their comments, order, white space, line ends, and
    dotted or table form.
    """
    import rfc8785  # noqa: PLC0415 - only a build needs it

    return rfc8785.dumps(spec.model_dump(mode="json", by_alias=True))


def identity(spec: Spec) -> str:
    """`sha256:<hex>` of `canonical(spec)`."""
    return f"sha256:{hashlib.sha256(canonical(spec)).hexdigest()}"
