"""Files that have to be had before they can be locked: their hash is known by now, their size may not be."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass

from builder.errors import EnvironmentFault, FetchError, IntegrityError
from builder.lock.rules import LARGEST
from builder.machine import Machine
from builder.progress import Progress
from builder.store.artifact import Registry
from builder.store.attempt import Patience, Refused, Transient, offset_of_body, request_headers
from builder.store.blobs import Store
from builder.store.client import Client, redacted
from builder.store.transfer import Wanted, fetch


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at a URL: `sha256` in hex, `size` in bytes if the index told it; the rest is what a lock says of it."""

    name: str
    version: str
    url: str
    sha256: str
    size: int | None
    registry: Registry
    path: str


def obtain(remote: Remote, *, machine: Machine, store: Store, progress: Progress) -> int:
    """Bring a file into the store.

    Returns:
        Its size in bytes.

    Raises:
        EnvironmentFault: it is not there and the machine is offline.
        FetchError: the URL does not deliver it.
        IntegrityError: the URL delivers other bytes.
    """
    if store.has(remote.sha256):
        return store.verified(remote.sha256, remote.size).stat().st_size
    if machine.offline:
        raise EnvironmentFault(
            f"offline, and {remote.path} is not in the store",
            where=f"{remote.name} {remote.version}".strip(),
            hint="run `kbuild lock` with the network on",
        )
    patience = Patience()
    size = _announced_size(remote, patience) if remote.size is None else remote.size
    if size is None:
        return _stream(remote, store, progress, patience)
    wanted = Wanted(remote.name, remote.version, remote.sha256, size, remote.registry, remote.path)
    fetch([wanted], store, lambda _: {remote.sha256: (remote.url,)}, progress, jobs=1)
    return size


def _announced_size(remote: Remote, patience: Patience) -> int | None:
    """What the server says the size is; the download that follows holds it to that."""
    for failures in range(1, patience.attempts + 1):
        try:
            with Client(patience).get(remote.url, request_headers(0, None, remote.url)) as reply:
                offset_of_body(reply.status, reply.headers, have=0, size=None)
                length = reply.headers.get("content-length", "").strip()
        except Refused as error:
            raise _undelivered(remote, error) from error
        except Transient as error:
            if failures == patience.attempts:
                raise _undelivered(remote, error) from error
            time.sleep(error.after or patience.backoff(failures, random.random()))  # noqa: S311 - jitter
        else:
            if not re.fullmatch(r"[0-9]{1,18}", length):
                return None
            if int(length) > LARGEST:
                raise _too_large(remote)
            return int(length)
    return None


def _stream(remote: Remote, store: Store, progress: Progress, patience: Patience) -> int:
    """Download a file of unannounced size: in one go, since there is nothing to continue by."""
    try:
        with (
            progress.step(f"fetch {remote.name}") as step,
            Client(patience).get(remote.url, request_headers(0, None, remote.url)) as reply,
            store.writer() as blob,
        ):
            offset_of_body(reply.status, reply.headers, have=0, size=None)
            while data := reply.read():
                blob.write(data)
                step.advance(len(data))
                if blob.size > LARGEST:
                    raise _too_large(remote)
            blob.commit(remote.sha256)
            return blob.size
    except (Refused, Transient) as error:
        raise _undelivered(remote, error) from error


def _undelivered(remote: Remote, error: Exception) -> FetchError:
    return FetchError(
        f"{redacted(remote.url)}: {error}",
        where=f"{remote.name} {remote.version}".strip(),
        hint="check the address and the network, then run `kbuild lock` again",
    )


def _too_large(remote: Remote) -> IntegrityError:
    return IntegrityError(
        f"{redacted(remote.url)} holds more than {LARGEST >> 30} GiB", where=f"{remote.name} {remote.version}".strip()
    )
