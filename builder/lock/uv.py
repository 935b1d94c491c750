"""uv as a resolver: one subprocess that answers with a pylock.toml (PEP 751).

Whatever could steer the answer comes from the arguments here: no configuration file is read, and of the machine's
variables only those come along that say where the index is.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli
from packaging.pylock import Pylock, PylockValidationError

from builder.errors import EnvironmentFault, FetchError, KbuildError, ResolveError
from builder.lock.target import Target

_TIMEOUT = 900
"""Seconds; a cold resolution of jax takes 1, one that backtracks through hundreds of versions a minute."""

_LARGEST_ANSWER = 64 << 20


@dataclass(frozen=True, slots=True)
class Question:
    """What uv is asked.

    Attributes:
        requirements: PEP 508, of the index, already checked.
        target: what the wheels have to fit.
        pins: versions by normalised name that must be taken if the project is needed at all.
        exclude: normalised names that are left out, whoever asks for them.
        dependencies: whether the requirements' own requirements count.
    """

    requirements: tuple[str, ...]
    target: Target
    pins: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    dependencies: bool = True


def ask(question: Question, *, environ: Mapping[str, str], offline: bool, where: str) -> Pylock:
    """Resolve.

    Args:
        question: what is wanted.
        environ: the whole environment for uv; `builder.store.registries.uv_environment` makes it.
        offline: whether only uv's cache may be asked.
        where: what messages call the question.

    Raises:
        ResolveError: no set of wheels answers the question.
        FetchError: the index could not be reached.
        EnvironmentFault: uv is missing, broken, or offline without what it needs.
    """
    with tempfile.TemporaryDirectory(prefix="kbuild-uv-") as name:
        folder = Path(name)
        arguments = _prepare(question, folder)
        environ = {**environ, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        if offline:
            arguments.append("--offline")
        try:
            done = subprocess.run(
                [_program(), *arguments],
                cwd=folder,
                env=environ,
                input="\n".join(question.requirements).encode(),
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FetchError(f"uv gave no answer within {_TIMEOUT} s", where=where, hint="try again later") from error
        except OSError as error:
            raise EnvironmentFault(f"uv cannot be run: {error.strerror}", where=where, hint=_REINSTALL) from error
        if done.returncode != 0:
            raise failure(done.stderr.decode("utf-8", "replace"), where=where)
        return _answer(folder / "pylock.toml", where)


_REINSTALL = "install kbuild's dependencies again; the wheel `uv` brings the program"


def _program() -> str:
    import uv  # noqa: PLC0415 - only resolving needs it

    return uv.find_uv_bin()


def _prepare(question: Question, folder: Path) -> list[str]:
    """Write the files that uv reads and give its arguments."""
    arguments = ["pip", "compile", "-", "--format", "pylock.toml", "--output-file", "pylock.toml", "--no-header"]
    arguments += ["--quiet", "--no-config", "--only-binary", ":all:", "--no-annotate", "--python", sys.executable]
    arguments += ["--python-version", question.target.python, "--python-platform", question.target.uv]
    if question.pins:
        # Not uv's preferences (versions in the file that it is to replace): where several indexes have the version, uv
        # 0.13 looks at the first alone, and avoids the preferred version if that one has no wheel for the target.
        pins = "".join(f"{name}=={version}\n" for name, version in sorted(question.pins.items()))
        (folder / "pins.txt").write_text(pins, "utf-8")
        arguments += ["--constraints", "pins.txt"]
    if question.exclude:
        (folder / "excludes.txt").write_text("".join(f"{name}\n" for name in sorted(question.exclude)), "utf-8")
        arguments += ["--excludes", "excludes.txt"]
    if not question.dependencies:
        arguments.append("--no-deps")
    return arguments


def _answer(path: Path, where: str) -> Pylock:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_ANSWER + 1)
        if len(data) > _LARGEST_ANSWER:
            raise EnvironmentFault("uv's answer is implausibly large", where=where)
        return Pylock.from_dict(tomli.loads(data.decode()))
    except (OSError, ValueError, RecursionError, PylockValidationError) as error:
        message = f"uv's answer is not a pylock.toml: {error}"
        raise EnvironmentFault(message, where=where, hint=_REINSTALL) from error


_MARKS = "\N{MULTIPLICATION SIGN}╰─▶│├"
"""What uv before 0.11 draws before an error and its causes."""


def failure(stderr: str, *, where: str) -> KbuildError:
    """The error that uv's last words stand for.

    Args:
        stderr: all that uv wrote.
        where: what messages call the question.
    """
    message, hints = _cleaned(stderr)
    hint = " ".join(hints) or None
    text = f"{message}\n{hint or ''}".lower()
    if "network was disabled" in text or "network connectivity is disabled" in text:
        return EnvironmentFault(
            f"the index was not asked, being offline: {message}", where=where, hint="run `kbuild lock` with the network"
        )
    if any(word in text for word in ("no solution found", "because ", "was not found in the package registry")):
        message = re.sub(r"^no solution found when resolving dependencies[^:]*: ", "", message, flags=re.IGNORECASE)
        return ResolveError(f"no set of wheels fits: {message}", where=where, hint=hint or "relax or correct a version")
    if re.search(r"couldn't parse|failed to parse|expected one of", text):
        return ResolveError(message, where=where, hint=hint or "write requirements as PEP 508 has them")
    if re.search(r"failed to fetch|error sending request|request failed|timed? ?out|connect|dns|http status", text):
        return FetchError(
            f"the Python index does not answer: {message}",
            where=where,
            hint=hint or "check the network and the index (KBUILD_PYPI_INDEX, or uv's and pip's settings)",
        )
    return EnvironmentFault(f"uv failed: {message}", where=where, hint=hint)


def _cleaned(stderr: str) -> tuple[str, list[str]]:
    """The error as one sentence, and the hints, without marks, colours, passwords and advice about uv's options."""
    stderr = re.sub(r"\x1b\[[0-9;]*m", "", stderr)
    stderr = re.sub(r"(://)[^/@\s]+@", r"\1", stderr)
    stderr = stderr.replace(" (i.e., with `--no-build`)", "").replace(" (i.e., with `--only-binary :all:`)", "")
    paragraphs: list[tuple[str, list[str]]] = []
    for line in stderr.splitlines():
        text = line.strip().lstrip(_MARKS + " ")
        head = re.match(r"(error|warning|hint|cause):\s*", text)
        if head or not paragraphs or line.lstrip().startswith(tuple(_MARKS)):
            kind = head[1] if head else "cause" if paragraphs else "error"
            paragraphs.append((kind, [text[head.end() :] if head else text]))
        elif text:
            paragraphs[-1][1].append(text)
    # A warning's causes come before the error.
    last = max((at for at, (kind, _) in enumerate(paragraphs) if kind == "error"), default=0)
    parts = [" ".join(lines).strip().rstrip(".:") for kind, lines in paragraphs[last:] if kind in ("error", "cause")]
    message = ": ".join(part for part in parts if part) or "it said nothing"
    return message[:1].lower() + message[1:2000], [
        " ".join(lines).strip() for kind, lines in paragraphs if kind == "hint"
    ]
