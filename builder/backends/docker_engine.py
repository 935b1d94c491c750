"""A Docker engine as kbuild uses it: finding it, speaking to it, and one clear error for each way it refuses.

Which engine is Docker's own configuration: `DOCKER_HOST` (with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`), else the
context that `DOCKER_CONTEXT` or `docker context use` chose, else this machine's socket.
"""

from __future__ import annotations

import errno
import http.client
import os
import ssl
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import requests
import urllib3
from docker.context import ContextAPI
from docker.utils import kwargs_from_env

from builder.backends.docker_ssh import forwarded
from builder.errors import EnvironmentFault
from builder.platforms import NAMES, Platform

API = (1, 41)
"""The oldest API that is spoken: Docker 20.10."""

_PATIENCE = 15
"""Seconds to wait for an engine's first answer."""
_WORKING = 1800
"""Seconds without a byte from an engine that unpacks an image or packs an output."""

_REMOTE = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError)
_BROKEN = (http.client.HTTPException, OSError, ssl.SSLError, docker.errors.StreamParseError, ValueError)
_FULL = ("no space left on device", "disk quota exceeded")
_LOG = "look at the engine's log (`journalctl -u docker`), then run kbuild again: what was finished is kept"
_OTHER = "name another engine in DOCKER_HOST, or use `--backend embedded`, which needs none"


class _Client(docker.APIClient):  # type: ignore[misc]  # docker-py has no types
    """docker-py's client, but for what it would send along with every build: all of the user's registry passwords."""

    def _set_auth_headers(self, headers: MutableMapping[str, str]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Engine:
    """A connection to an engine, for one thread.

    `address` is for people, `architecture` is Docker's name for that of its machine, `platform` is ours.
    """

    client: Any
    address: str
    architecture: str
    platform: Platform

    @contextmanager
    def speaking(self, what: str) -> Iterator[Any]:
        """Do something with the client.

        Args:
            what: the engine is asked to do, for errors: "build an image".

        Raises:
            EnvironmentFault: the engine refused, broke off or could not do it.
        """
        with _faults(what, self.address):
            yield self.client


@contextmanager
def connected(named: str | None = None) -> Iterator[Engine]:
    """Connect to an engine.

    Args:
        named: its address, `unix://` or `ssh://`; None: the one that Docker's own configuration names.

    Raises:
        EnvironmentFault: there is none, this user may not speak to it, or it is too old; the hint says what to do.
    """
    with _faults("answer", "DOCKER_HOST"):
        base_url, tls = (named, False) if named else _endpoint()
    address = base_url or "unix:///var/run/docker.sock"
    with _faults("answer", address):
        client = _Client(base_url=forwarded(address), tls=tls, version="auto", timeout=_PATIENCE)
    try:
        with _faults("answer", address):
            known = client.version()
            client.timeout = _WORKING
        yield Engine(client, address, known.get("Arch", ""), _platform(known, address))
    finally:
        client.close()


def _endpoint() -> tuple[str | None, Any]:
    found = kwargs_from_env()
    if "base_url" in found:
        return found["base_url"], found.get("tls", False)
    name = os.environ.get("DOCKER_CONTEXT") or None
    context = ContextAPI.get_context(name)
    if context is None:
        raise EnvironmentFault(
            f"there is no Docker context {name or 'of the name that is in use'}",
            where="DOCKER_CONTEXT",
            hint="`docker context ls` shows those there are",
        )
    return context.Host, context.TLSConfig or False


def _platform(known: dict[str, Any], address: str) -> Platform:
    """The engine's platform, if it is one that can be used.

    Raises:
        EnvironmentFault: the engine is too old, or of another kind.
    """
    version = tuple(int(part) for part in str(known.get("ApiVersion", "0")).split(".") if part.isdecimal())
    if version < API:
        raise EnvironmentFault(
            f"the Docker engine is too old: {known.get('Version', 'of unknown version')} speaks API "
            f"{known.get('ApiVersion', 'of unknown version')}, and {API[0]}.{API[1]} is needed",
            where=address,
            hint=f"install Docker 20.10 or newer there, or {_OTHER}",
        )
    for names in NAMES.values():
        if known.get("Os") == "linux" and known.get("Arch") in (names.debian, names.machine):
            return names.platform
    raise EnvironmentFault(
        f"the Docker engine runs {known.get('Os')} on {known.get('Arch')}; kbuild needs Linux on amd64 or arm64",
        where=address,
        hint=_OTHER,
    )


@contextmanager
def _faults(what: str, address: str) -> Iterator[None]:
    try:
        yield
    except _REMOTE as error:
        raise fault(error, what, address) from error
    except _BROKEN as error:
        raise fault(error, what, address) from error


def fault(error: Exception, what: str, address: str) -> EnvironmentFault:
    """An error of docker-py or of what it stands on, as one of ours.

    Args:
        error: as raised.
        what: the engine was asked to do.
        address: of the engine.
    """
    said = str(getattr(error, "explanation", None) or error)
    if full := exhausted(said, address):
        return full
    system = _cause(error, OSError, lambda found: found.errno is not None)
    number = system.errno if system else None
    if number in (errno.EACCES, errno.EPERM):
        return EnvironmentFault(
            "this user may not speak to the Docker engine (permission denied)",
            where=address,
            hint="`sudo usermod -aG docker $USER` and log in again, or use rootless Docker; or `--backend embedded`",
        )
    if number in (errno.ENOENT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH) or what == "answer":
        return EnvironmentFault(
            f"no Docker engine answers ({os.strerror(number) if number else said})",
            where=address,
            hint=f"install and start Docker (`sudo systemctl start docker`), {_OTHER}",
        )
    if isinstance(error, docker.errors.APIError) and error.status_code is not None:
        return EnvironmentFault(f"the Docker engine refuses to {what}: {said}", where=address, hint=_LOG)
    return EnvironmentFault(f"the Docker engine broke off when asked to {what}: {said}", where=address, hint=_LOG)


def exhausted(said: str, address: str) -> EnvironmentFault | None:
    """The error for an engine whose disk is full, if that is what it says."""
    if not any(sign in said.lower() for sign in _FULL):
        return None
    return EnvironmentFault(
        f"the Docker engine's disk is full: {said}",
        where=address,
        hint="`docker system df` shows what takes the room, `docker system prune` frees some of it",
    )


def _cause(error: BaseException, kind: type[OSError], wanted: Callable[[OSError], bool]) -> OSError | None:
    """The first error of a kind among an error, its arguments (where urllib3 and requests put theirs) and causes."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, kind) and wanted(found):
            return found
        below = (*found.args, getattr(found, "reason", None), found.__cause__, found.__context__)
        waiting += [item for item in below if isinstance(item, BaseException)]
    return None
