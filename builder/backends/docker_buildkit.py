"""One build on BuildKit, through `docker buildx`: docker-py cannot speak to it.

Used where the user asks for it as everywhere, with `DOCKER_BUILDKIT=1`. BuildKit may stand in a container that sees no
image of the engine, so the root travels with the build; it takes a context's file that it has had before from its
cache. `SOURCE_DATE_EPOCH` is set to the action's, which BuildKit writes into what it exports; `rewrite-timestamp` is
an option of its image exporters, and what is exported here is the output folder alone, whose times are set again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from plumbum import CommandNotFound, local

from builder.backends import kept
from builder.backends.docker_engine import Engine, exhausted
from builder.backends.docker_outcome import Outcome, collect
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault
from builder.store.blobs import Store

_CHUNK = 1 << 20
_OWN = re.compile(r"^(?:#\d+ )?ERROR: .*$", re.MULTILINE)
"""BuildKit's own words about a failure; a command's begin with the step's number and a time."""
_STATUS = re.compile(r": exit code: (\d+)$")
_SAID = re.compile(r"^#\d+ \d+\.\d+ ?(.*)$", re.MULTILINE)
_CANCELLED = ("context canceled", "context deadline exceeded")


def wanted() -> bool:
    """Whether this user wants BuildKit, in the way that Docker's own command line is told."""
    return os.environ.get("DOCKER_BUILDKIT", "0") not in ("", "0", "false")


def check() -> None:
    """Raise `EnvironmentFault` if BuildKit is wanted and `docker buildx` is not here."""
    if not wanted():
        return
    status, _, _ = _docker()["buildx", "version"].run(retcode=None)
    if status != 0:
        raise EnvironmentFault(
            "DOCKER_BUILDKIT is set, but there is no `docker buildx`",
            hint="install it (Debian: docker-buildx), or unset DOCKER_BUILDKIT to use the engine's own builder",
        )


def build(engine: Engine, context: Iterable[bytes], *, epoch: int, store: Store) -> Outcome:
    """Build, without network and without what an earlier build of the same command gave.

    Args:
        engine: builds; its platform is the build's.
        context: a tar with a Dockerfile.
        epoch: seconds since 1970.
        store: has room for the context and the output meanwhile.

    Raises:
        EnvironmentFault: BuildKit could not do it.
        IntegrityError: the output is larger than any could be.
    """
    with workplace(store) as place:
        sent, got = place / "context.tar", place / "output.tar"
        with sent.open("wb") as file:
            for chunk in context:
                file.write(chunk)
        line = _docker()["buildx", "build", "--progress", "plain", "--network", "none", "--platform", engine.platform]
        line = line["--no-cache-filter", "compile", "--provenance", "false"]
        line = line["--build-arg", f"SOURCE_DATE_EPOCH={epoch}", "--output", f"type=tar,dest={got}", "-"]
        with sent.open("rb") as stream:  # BuildKit stops a build that nobody waits for
            ended = kept.run(line, os.environ, stdin=stream)
        if ended.status == 0:
            with got.open("rb") as file:
                return Outcome(0, "", collect(iter(lambda: file.read(_CHUNK), b""), engine.address))
        return _failed(ended.said.decode(errors="replace"), engine)


def _failed(said: str, engine: Engine) -> Outcome:
    """The command's own failure.

    Raises:
        EnvironmentFault: it was not the command that failed.
    """
    own = [line.rstrip() for line in _OWN.findall(said)]  # each quotes the command, and ends with what happened to it
    found = _STATUS.search(own[-1]) if own else None
    if found is None or any(line.endswith(_CANCELLED) for line in own):
        last = "\n".join(said.strip().splitlines()[-5:])
        raise exhausted(last, engine.address) or EnvironmentFault(f"BuildKit failed: {last}", where=engine.address)
    return Outcome(int(found[1]), "\n".join(_SAID.findall(said)))


def _docker() -> Any:
    try:
        return local["docker"]
    except CommandNotFound as error:
        raise EnvironmentFault(
            "DOCKER_BUILDKIT is set, but there is no `docker` command here, which speaks to it",
            hint="install Docker's command line and buildx, or unset DOCKER_BUILDKIT to use the engine's own builder",
        ) from error
