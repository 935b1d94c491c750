from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.store.attempt import (
    Origin,
    Patience,
    Refused,
    Transient,
    Watchdog,
    Wrong,
    offset_of_body,
    request_headers,
    retry_after,
    validator,
)

NOW = datetime(1999, 12, 31, 23, 58, 59, tzinfo=UTC)


# The examples of RFC 9110: sections 10.2.3, 8.8.3, 14.4
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 60.0), (" 0 ", 0.0), (None, None), ("soon", None), ("-1", None)],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


def test_a_date_that_is_over_means_now() -> None:
    assert retry_after("Fri, 31 Dec 1998 23:59:59 GMT", NOW) == 0


@pytest.mark.parametrize(
    ("tag", "strong"), [('"xyzzy"', True), ('W/"xyzzy"', False), ('""', True), ("xyzzy", False), ("", False)]
)
def test_only_strong_tags_validate_a_range(tag: str, strong: bool) -> None:  # noqa: FBT001
    assert validator({"etag": tag}) == (tag if strong else None)


@pytest.mark.parametrize("text", ["bytes 42-1233/1234", "bytes 42-1233/*"])
def test_content_range_that_continues(text: str) -> None:
    assert offset_of_body(206, {"content-range": text}, have=42, size=1234) == 42


@pytest.mark.parametrize(
    ("have", "text", "outcome"),
    [
        (42, "bytes 43-1233/1234", Transient),
        (42, "bytes 0-1233/1234", Transient),
        (42, "bytes */1234", Transient),
        (42, "", Transient),
        (42, "bytes 42-1233/1235", Wrong),
        (0, "bytes 0-1233/1234", Refused),
    ],
)
def test_content_range_that_does_not(have: int, text: str, outcome: type[Exception]) -> None:
    with pytest.raises(outcome) as caught:
        offset_of_body(206, {"content-range": text}, have=have, size=1234)
    assert getattr(caught.value, "restart", True) is True


def test_if_range_only_for_the_same_url() -> None:
    origin = Origin("http://a.example/f", '"tag"')
    assert request_headers(0, origin, origin.url) == {"Accept-Encoding": "identity"}
    assert request_headers(7, origin, origin.url)["If-Range"] == '"tag"'
    assert "If-Range" not in request_headers(7, origin, "http://b.example/f")
    assert request_headers(7, None, origin.url) == {"Accept-Encoding": "identity", "Range": "bytes=7-"}


headers = st.dictionaries(
    st.sampled_from(["content-length", "content-range", "retry-after", "etag"]),
    st.text(max_size=30) | st.from_regex(r"bytes [0-9]{1,3}-[0-9]{1,3}/[0-9]{1,3}", fullmatch=True),
)


@given(st.integers(0, 999), headers, st.integers(0, 200), st.none() | st.integers(0, 200))
def test_whatever_the_answer_it_is_a_beginning_a_continuation_or_a_reason(
    status: int, fields: dict[str, str], have: int, size: int | None
) -> None:
    try:
        begin = offset_of_body(status, fields, have=have, size=size)
    except (Refused, Transient):
        return
    assert begin in {0, have}
    assert status in {200, 206}


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_backoff_doubles_up_to_its_bound(failures: int, chance: float) -> None:
    patience = Patience()
    full = patience.first_wait * 2 ** min(failures - 1, 20)
    wait = patience.backoff(failures, chance)
    assert min(full, patience.longest_wait) / 2 <= wait <= min(full, patience.longest_wait)


def test_the_watchdog_barks_at_a_trickle_and_lets_a_slow_line_be() -> None:
    patience = Patience(window=10, least=100)
    slow = Watchdog(patience, 0)
    for second in range(1, 100):
        slow.saw(101, second)
    trickle = Watchdog(patience, 0)
    for second in range(1, 10):
        trickle.saw(99, second)
    with pytest.raises(Transient, match="99 bytes per second"):
        trickle.saw(99, 10)
    dried_up = Watchdog(patience, 0)
    dried_up.saw(1_000_000, 10)
    with pytest.raises(Transient):
        dried_up.saw(1, 20)
