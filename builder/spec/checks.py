"""What one value of a spec may be, where a pattern cannot say it: each check returns a refusal or nothing."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from builder.spec.refusal import Refusal, quoted
from builder.spec.sources import parse, relative_path

_PROJECT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def glob(text: str) -> Refusal | None:
    """A pattern of paths below the spec's folder: `*`, `?`, `[...]` within a name, `**` for folders."""
    for part in text.split("/"):
        if "**" in part and part != "**":
            return Refusal(f"the pattern {quoted(text)} mixes '**' with a name", "let '**' stand alone between slashes")
    if text.endswith("**"):
        # pathlib takes it for folders before Python 3.13, and for folders and files since.
        return Refusal(f"the pattern {quoted(text)} selects folders", f"write {quoted(text + '/*')} for files")
    return relative_path(text)


def requirement(text: str) -> Refusal | None:
    """A PEP 508 requirement that the index can meet."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - only specs with wheels need it

    if re.match(r"(git|hg|svn|bzr)\+|https?://|file:|\.{0,2}/|-", text.strip()):
        return Refusal(f"{quoted(text)} does not come from the index", "name a project and its version; wheels only")
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        single = re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*=\s*([A-Za-z0-9.]+)\s*", text)
        if single:
            return Refusal(f"{quoted(text)} is not a requirement", f"write '{single[1]}=={single[2]}'")
        return Refusal(f"{quoted(text)} is not a requirement: {reason[0].lower()}{reason[1:]}", "see PEP 508")
    if parsed.url is not None:
        return Refusal(
            f"{quoted(text)} asks for an address, not for a wheel of the index", f"write '{parsed.name}==<version>'"
        )
    return None


def project(text: str) -> Refusal | None:
    """The name of a project of the index, without a version."""
    if _PROJECT.fullmatch(text):
        return None
    return Refusal(f"{quoted(text)} is not the name of a project", "give the name alone, such as 'scipy'")


def license_expression(text: str) -> Refusal | None:
    """An SPDX expression, or nothing."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # noqa: PLC0415

    if not text:
        return None
    try:
        canonical = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return Refusal(
            f"{quoted(text)} is not an SPDX licence expression",
            "write identifiers such as 'Apache-2.0' or 'MIT', joined by AND, OR or WITH; LicenseRef-<name> for others",
        )
    return None if canonical == text else Refusal(f"{quoted(text)} is spelled otherwise", f"write {canonical!r}")


def weights_source(text: str) -> Refusal | None:
    """Where weights come from; see `builder.spec.sources`."""
    parsed = parse(text)
    return parsed if isinstance(parsed, Refusal) else None


def input_file(text: str) -> Refusal | None:
    """A file of example inputs, known by its suffix."""
    if PurePosixPath(text).suffix in {".json", ".npz", ".safetensors"}:
        return None
    return Refusal(f"{quoted(text)} is not a file of tensors", "use .json, .npz or .safetensors")


def output_file(text: str) -> Refusal | None:
    """A file of golden outputs, known by its suffix."""
    if PurePosixPath(text).suffix == ".safetensors":
        return None
    return Refusal(f"{quoted(text)} is not a .safetensors file", "golden outputs are kept as .safetensors")
