"""What to make of one server's answer, and when to ask again: pure decisions of the download loop (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

NETWORK_HINT = (
    "check the network and this machine's mirrors (KBUILD_DEBIAN_MIRROR, KBUILD_PYPI_INDEX, apt's and pip's settings)"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with a source; times in seconds."""

    connect: float = 15.0
    read: float = 30.0
    """Without a single byte for this long, the connection has stalled."""
    window: float = 30.0
    least: float = 1024.0
    """Fewer bytes per second than this, averaged over `window`, is a stall too."""
    attempts: int = 4
    """Failures in a row without progress before the next source is asked."""
    total: int = 20
    """Failures altogether, so that a server cannot string us along byte by byte."""
    first_wait: float = 0.5
    longest_wait: float = 60.0

    def backoff(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row: doubling, with jitter.

        Args:
            failures: 1 or more.
            chance: in [0, 1), from a random source; spreads clients that failed together.
        """
        return float(min(self.first_wait * 2 ** (min(failures, 30) - 1), self.longest_wait)) * (0.5 + chance / 2)


class Refused(Exception):  # an outcome of one attempt, never seen outside builder.store
    """This source will not serve this file; asking it again is pointless."""


class Wrong(Refused):
    """This source serves other bytes than the lock names."""


class Transient(Exception):  # as above
    """This attempt failed; the next may not.

    `after` is how long the server asks us to wait. `unreachable` says that no connection came about. `restart` says
    that what is there cannot be continued. `patient` says that progress made is no reason to go on for longer.
    """

    def __init__(
        self,
        reason: str,
        *,
        after: float | None = None,
        unreachable: bool = False,
        restart: bool = False,
        patient: bool = True,
    ) -> None:
        super().__init__(reason)
        self.after = after
        self.unreachable = unreachable
        self.restart = restart
        self.patient = patient


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a partial download came from: the URL and its strong validator, if the server gave one."""

    url: str
    validator: str | None


def request_headers(have: int, origin: Origin | None, url: str) -> dict[str, str]:
    """Headers that ask for what is missing.

    From the URL that the first bytes came from, `If-Range` makes a server whose file changed send all of it anew. From
    another source nothing is comparable: the hash over the whole decides.
    """
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if origin is not None and origin.url == url and origin.validator:
            headers["If-Range"] = origin.validator
    return headers


def validator(headers: Mapping[str, str]) -> str | None:
    """The strong entity tag, which alone may stand in `If-Range` (RFC 9110, 13.1.5). Keys are lower case."""
    tag = headers.get("etag", "").strip()
    return tag if re.fullmatch(r'"[\x21\x23-\x7e\x80-\xff]*"', tag) else None


def offset_of_body(status: int, headers: Mapping[str, str], *, have: int, size: int | None) -> int:
    """Where in the file the body of this answer begins.

    Args:
        status: of the answer.
        headers: of the answer, keys in lower case.
        have: how many bytes are there already; a range was asked for if it is not 0.
        size: of the whole file, if it is known.

    Returns:
        0, if the body is the whole file, or `have`.

    Raises:
        Refused: the answer is final and holds nothing of use.
        Transient: another attempt may get a better one.
    """
    if status == HTTPStatus.OK:
        length = _number(headers.get("content-length"))
        if size is not None and length is not None and length != size:
            raise Wrong(f"offers {length} bytes instead of {size}")
        return 0
    if status == HTTPStatus.PARTIAL_CONTENT and have:
        return _continued(headers, have, size)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        raise Transient("cannot continue at that byte", restart=True)
    said = f"answers {status} {_phrase(status)}".rstrip()
    if status in (408, 425, 429) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Transient(said, after=retry_after(headers.get("retry-after"), datetime.now(UTC)))
    raise Refused(said)


def _continued(headers: Mapping[str, str], have: int, size: int | None) -> int:
    answer = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", headers.get("content-range", "").strip())
    if answer is None or int(answer[1]) != have:
        raise Transient("answers with another part than asked for", restart=True)
    if size is not None and answer[3] not in ("*", str(size)):
        raise Wrong(f"offers {answer[3]} bytes instead of {size}")
    return have


def retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, given as a number or as a date; None if there is none."""
    if text is None:
        return None
    number = _number(text)
    if number is not None:
        return float(number)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


class Watchdog:
    """Notices a trickle that never quite stops."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._since = now
        self._bytes = 0

    def saw(self, count: int, now: float) -> None:
        """Account for `count` bytes that arrived at `now`.

        Raises:
            Transient: over the last window, too few did.
        """
        self._bytes += count
        elapsed = now - self._since
        if elapsed >= self._patience.window:
            if self._bytes < self._patience.least * elapsed:
                raise Transient(f"stalled: {self._bytes / elapsed:.0f} bytes per second", patient=False)
            self._since, self._bytes = now, 0


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
