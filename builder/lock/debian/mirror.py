"""One file from one mirror, by the store's rules of patience, telling "not there" from "not reached"."""

from __future__ import annotations

import random
import time
from http import HTTPStatus

from builder.errors import FetchError, IntegrityError
from builder.store.attempt import NETWORK_HINT, Patience, Refused, Transient, Watchdog, offset_of_body, request_headers
from builder.store.client import Client, redacted

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


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
            raise FetchError(str(error), where=redacted(url), hint=NETWORK_HINT) from error
        except Transient as error:
            pause = error.after or patience.backoff(failures, random.random())  # noqa: S311  # jitter
            if failures == patience.attempts or not error.patient or pause > patience.longest_wait:
                raise FetchError(str(error), where=redacted(url), hint=NETWORK_HINT) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _attempt(client: Client, url: str, limit: int, patience: Patience) -> bytes:
    with client.get(url, request_headers(0, None, url)) as reply:
        if reply.status in _GONE:
            raise NotThereError("the mirror has no such file", where=redacted(url), hint=NETWORK_HINT)
        offset_of_body(reply.status, reply.headers, have=0, size=None)
        watchdog = Watchdog(patience, time.monotonic())
        data = bytearray()
        while chunk := reply.read():
            data += chunk
            if len(data) > limit:
                raise IntegrityError(f"the file has more than {limit} bytes", where=redacted(url), hint=NETWORK_HINT)
            watchdog.saw(len(chunk), time.monotonic())
        expected = reply.headers.get("content-length", "")
        if expected.isdecimal() and int(expected) != len(data):
            raise Transient(f"the connection ended after {len(data)} of {expected} bytes")
        return bytes(data)
