"""The element types that a file of outputs can hold (docs/protocol.md, section 2), as layouts of bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bool", "unsigned", "signed", "float"]


@dataclass(frozen=True, slots=True)
class Format:
    """An element type.

    `name` is the protocol's; `width` is the bytes of one component, of which a complex number has two; `fraction` is
    the bits that a floating-point component stores of its significand.
    """

    name: str
    kind: Kind
    width: int
    components: int = 1
    fraction: int = 0

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.width * self.components


FORMATS: Final[Mapping[str, Format]] = {
    "BOOL": Format("bool", "bool", 1),
    "U8": Format("uint8", "unsigned", 1),
    "U16": Format("uint16", "unsigned", 2),
    "U32": Format("uint32", "unsigned", 4),
    "U64": Format("uint64", "unsigned", 8),
    "I8": Format("int8", "signed", 1),
    "I16": Format("int16", "signed", 2),
    "I32": Format("int32", "signed", 4),
    "I64": Format("int64", "signed", 8),
    "F16": Format("float16", "float", 2, fraction=10),
    "BF16": Format("bfloat16", "float", 2, fraction=7),
    "F32": Format("float32", "float", 4, fraction=23),
    "F64": Format("float64", "float", 8, fraction=52),
    "C64": Format("complex64", "float", 4, components=2, fraction=23),
}
"""By safetensors' names."""
