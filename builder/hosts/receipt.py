"""Receipts from outside: read with suspicion, and held to what was asked for (docs/protocol.md, section 8).

A receipt comes from an image on a host, and either may lie. What can be told from here is whether it is one at all,
whether it is whole, and whether it speaks of the run that was asked for. Whether its outputs are those that the run
left, `builder.harness` finds out by hashing them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from builder.errors import EnvironmentFault, IntegrityError
from builder.platforms import Platform

NAME: Final = "receipt.json"

LARGEST: Final = 16 << 20
"""Bytes of the largest receipt that is read: one of some 50,000 tensors."""

_EXACT: Final = 2**53 - 1
_HINT: Final = "do not trust this host or image; run it again, or elsewhere"

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=_EXACT)]
Fact = Annotated[int, Field(ge=-_EXACT, le=_EXACT)] | str | list[str]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Tensor(_Part):
    """What a receipt says of one tensor; `sha256` is the canonical hash."""

    dtype: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    sha256: Hash
    shape: list[Count]


class Tensors(_Part):
    """A set of tensors by name; `sha256` is over all of them."""

    sha256: Hash
    tensors: dict[str, Tensor]

    @model_validator(mode="after")
    def _hashed(self) -> Self:
        if self.sha256 != _hash({name: tensor.model_dump() for name, tensor in self.tensors.items()}):
            raise ValueError("its sha256 is not that of its tensors")
        return self


class Kernel(_Part):
    """Which kernel ran."""

    name: str
    version: str


class Profile(_Part):
    """Under which pins it ran."""

    name: str
    threads: Count
    environment: dict[str, str] | None = None
    numerics: Count | None = None


class Unmet(_Part):
    """A requirement that a host did not meet."""

    name: str
    needed: str
    found: str
    remedy: str


class Operations(_Part):
    """The root of a list of operations, and how many entries that has (docs/trace.md, section 7)."""

    version: Annotated[int, Field(ge=1, le=1)]
    leaves: Count
    root: Hash


class Failure(_Part):
    """How a run failed: in which step, with which exit code; `unmet` if the host was refused."""

    step: Literal["initialise", "input", "execute", "output"]
    exit: Literal[2, 3]
    message: str
    hint: str | None = None
    unmet: list[Unmet] = []

    @property
    def refused(self) -> bool:
        """Whether the runtime found the host unfit and did not run."""
        return bool(self.unmet)


class Result(_Part):
    """What was run, and what came of it; what a failed run did not reach is None."""

    protocol: Annotated[int, Field(ge=1, le=1)]  # a literal 1 would also take `true`, which equals it
    status: Literal["ok", "error"]
    image: Digest | None
    index: Digest | None
    kernel: Kernel | None = None
    spec: Digest | None = None
    platform: Platform | None = None
    profile: Profile | None = None
    seed: Count | None = None
    x64: bool | None = None
    versions: dict[str, str] | None = None
    inputs: Tensors | None = None
    prepared: Tensors | None = None
    program: Digest | None = None
    code: Digest | None = None
    outputs: Tensors | None = None
    operations: Operations | None = None
    error: Failure | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        failed = self.status == "error"
        if failed != (self.error is not None):
            raise ValueError(f"its status is {self.status!r}, and it has {'no' if failed else 'an'} error")
        optional = {"image", "index", "prepared", "code", "operations", "error"}
        if not failed and (absent := [name for name in sorted(self._reached() ^ _RESULT) if name not in optional]):
            raise ValueError(f"its status is 'ok', and it has no {', '.join(absent)}")
        if failed and (self.outputs or self.operations):
            raise ValueError("its status is 'error', and it has outputs")
        return self

    def _reached(self) -> set[str]:
        return {name for name in _RESULT if getattr(self, name) is not None}


_RESULT: Final = frozenset(Result.model_fields)


class Trace(_Part):
    """What a traced run says of its trace: how it was asked for, and the hash of `trace.json`."""

    mode: str
    sha256: Hash


class _Document(_Part):
    result: Result
    sha256: Hash
    host: dict[str, Fact]
    binding: Hash
    microseconds: dict[str, Count]
    used: dict[str, Count]
    preview: dict[str, str] = {}
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt of the right form, both hashes of which are right.

    Attributes:
        result: what was run and what came of it.
        sha256: over `result`: equal on hosts that computed the same thing.
        host: facts about the host.
        binding: over `host` and `result`: this result from this host.
        microseconds: durations by step.
        used: bytes of memory at the peak, and threads at the end.
        preview: values of the outputs for people, not made fit for a terminal.
        trace: of a traced run.
        document: all of it as plain JSON data.
    """

    result: Result
    sha256: str
    host: Mapping[str, int | str | list[str]]
    binding: str
    microseconds: Mapping[str, int]
    used: Mapping[str, int]
    preview: Mapping[str, str]
    trace: Trace | None
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receipt must say of the run that was asked for; None for what nobody knows beforehand.

    Attributes:
        image: digest of the platform's manifest.
        index: digest of the index that the image was taken from.
        platform: the image's.
        spec: digest of the image's spec.
        program: digest of the lowered entry.
        seed: that the kernel was built with.
        inputs: hash of the set of inputs (docs/protocol.md, section 4).
    """

    image: str | None = None
    index: str | None = None
    platform: str | None = None
    spec: str | None = None
    program: str | None = None
    seed: int | None = None
    inputs: str | None = None


def read(path: Path) -> Receipt:
    """Read a receipt from a file that somebody else wrote.

    Raises:
        IntegrityError: it is no regular file, or no receipt.
        EnvironmentFault: it cannot be read.
    """
    try:
        # Neither what a link leads to nor a pipe that is waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise IntegrityError("the receipt is not a regular file", where=str(path), hint=_HINT)
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = file.read(LARGEST + 1)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise IntegrityError("there is no receipt", where=str(path), hint=_HINT) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise IntegrityError("the receipt is a link", where=str(path), hint=_HINT) from error
        raise EnvironmentFault(f"the receipt cannot be read: {error.strerror}", where=str(path)) from error
    return parse(data, where=str(path))


def parse(data: bytes, *, where: str) -> Receipt:
    """Read a receipt's bytes.

    Args:
        data: as they came.
        where: what an error calls them.

    Raises:
        IntegrityError: they are no receipt of version 1 in canonical JSON, or a hash in it is wrong.
    """
    if len(data) > LARGEST:
        raise _refused(f"is larger than {LARGEST >> 20} MiB", where)
    try:
        plain = json.loads(data)
        if rfc8785.dumps(plain) + b"\n" != data:
            raise _refused("is not canonical JSON and one line feed", where)
        document = _Document.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"][:6]))
        raise _refused(f"is malformed: {place}: {first['msg'].removeprefix('Value error, ')}", where) from error
    except (ValueError, RecursionError) as error:  # rfc8785's and json's own are among them
        raise _refused(f"is not canonical JSON ({type(error).__name__})", where) from error
    if document.sha256 != _hash(plain["result"]):
        raise _refused("has another sha256 than its result", where)
    if document.binding != _hash({"host": plain["host"], "result": plain["result"]}):
        raise _refused("has another binding than its result and host", where)
    return Receipt(
        result=document.result,
        sha256=document.sha256,
        host=document.host,
        binding=document.binding,
        microseconds=document.microseconds,
        used=document.used,
        preview=document.preview,
        trace=document.trace,
        document=plain,
    )


def require(receipt: Receipt, claim: Claim, *, where: str) -> None:
    """Hold a receipt to the run that was asked for.

    A failed run's receipt may lack what the run did not reach, but must not say otherwise.

    Raises:
        IntegrityError: it speaks of another run; the message names every difference.
    """
    odd = []
    for field in fields(claim):
        expected, found = getattr(claim, field.name), _said(receipt.result, field.name)
        unreached = found is None and receipt.result.status == "error" and field.name not in {"image", "index"}
        if expected is not None and found != expected and not unreached:
            odd.append(f"{field.name} {'none' if found is None else found}, not {expected}")
    if odd:
        raise IntegrityError(f"the receipt is of another run: {'; '.join(odd)}", where=where, hint=_HINT)


def _said(result: Result, name: str) -> object:
    if name == "inputs":
        return result.inputs.sha256 if result.inputs else None
    return getattr(result, name)


def _hash(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def _refused(reason: str, where: str) -> IntegrityError:
    return IntegrityError(f"the receipt {reason}", where=where, hint=_HINT)
