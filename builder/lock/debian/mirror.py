"""Small files from a mirror: bounded, patient but not endlessly so, and clear about what went wrong."""

from __future__ import annotations

import time
from http import HTTPStatus

from builder.errors import FetchError, IntegrityError
from builder.store.attempt import Patience, Refused, Transient
from builder.store.client import Client, redacted

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_HINT = "check the network, or set KBUILD_DEBIAN_MIRROR to another mirror"


class NotThereError(FetchError):
    """The mirror answers, and has no such file."""


def fetch(client: Client, url: str, *, limit: int, patience: Patience) -> bytes:
    """A whole file.

    Args:
        client: what connects.
        url: what to fetch.
        limit: the most bytes that it may have.
        patience: how long to bear with the mirror.

    Raises:
        NotThereError: the mirror has no such file.
        IntegrityError: the file is larger than `limit`.
        FetchError: the mirror can't be reached, stalls, or refuses, after all attempts.
    """
    for failures in range(1, patience.attempts + 1):
        try:
            return _attempt(client, url, limit, patience)
        except Refused as error:
            raise FetchError(str(error), where=redacted(url), hint=_HINT) from error
        except Transient as error:
            if failures == patience.attempts or not error.patient:
                raise FetchError(str(error), where=redacted(url), hint=_HINT) from error
            time.sleep(min(error.after or patience.backoff(failures, 0.5), patience.longest_wait))
    raise AssertionError("the last attempt returns or raises")


def _attempt(client: Client, url: str, limit: int, patience: Patience) -> bytes:
    with client.get(url, {"Accept-Encoding": "identity"}) as reply:
        if reply.status in _GONE:
            raise NotThereError("the mirror has no such file", where=redacted(url), hint=_HINT)
        if reply.status in _BUSY or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Transient(f"answers {reply.status}")
        if reply.status != HTTPStatus.OK:
            raise Refused(f"answers {reply.status}")
        data = bytearray()
        since, before = time.monotonic(), 0
        while chunk := reply.read():
            data += chunk
            if len(data) > limit:
                raise IntegrityError(f"the file has more than {limit} bytes", where=redacted(url), hint=_HINT)
            if (passed := time.monotonic() - since) > patience.window:
                if len(data) - before < patience.least * passed:
                    raise Transient(f"stalled: {len(data) - before} bytes in {passed:.0f} s", patient=False)
                since, before = time.monotonic(), len(data)
        expected = reply.headers.get("content-length", "")
        if expected.isdecimal() and int(expected) != len(data):
            raise Transient(f"the connection ended after {len(data)} of {expected} bytes")
        return bytes(data)
