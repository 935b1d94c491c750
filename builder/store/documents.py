"""Fetching small files whose hash nobody knows beforehand; whoever asks verifies them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from builder.errors import FetchError
from builder.store.attempt import NETWORK_HINT, Patience, Refused, Transient, Watchdog, offset_of_body, request_headers
from builder.store.client import Client, redacted


def document(urls: Sequence[str], *, limit: int, patience: Patience | None = None) -> tuple[bytes, str]:
    """Fetch a small file whose hash nobody knows beforehand, such as a signed index; the caller verifies it.

    Args:
        urls: where it may be, best first.
        limit: the most bytes that it may have.
        patience: how long to bear with a source.

    Returns:
        Its bytes and the URL, without credentials, that they came from.

    Raises:
        FetchError: no URL delivered it; names everything that was tried.
    """
    patience = patience or Patience()
    client = Client(patience)
    tried = []
    for url in urls:
        for failures in range(1, patience.attempts + 1):
            try:
                return _read_whole(client, url, limit, patience), redacted(url)
            except Refused as refused:
                outcome: Exception = refused
                break
            except Transient as transient:
                outcome = transient
                pause = transient.after or patience.backoff(failures, random.random())  # noqa: S311  # jitter
                if failures == patience.attempts or pause > patience.longest_wait:
                    break
                time.sleep(pause)
        tried.append((redacted(url), str(outcome)))
    raise FetchError(
        "no source delivered it:\n" + "\n".join(f"  {url}: {why}" for url, why in tried),
        where=urls[0].rpartition("/")[2] if urls else None,
        hint=NETWORK_HINT,
    )


def _read_whole(client: Client, url: str, limit: int, patience: Patience) -> bytes:
    data = bytearray()
    with client.get(url, request_headers(0, None, url)) as reply:
        offset_of_body(reply.status, reply.headers, have=0, size=None)
        watchdog = Watchdog(patience, time.monotonic())
        while chunk := reply.read():
            data += chunk
            if len(data) > limit:
                raise Refused(f"sends more than {limit} bytes")
            watchdog.saw(len(chunk), time.monotonic())
    return bytes(data)
