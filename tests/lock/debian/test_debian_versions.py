from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.lock.debian.versions import satisfies, split, version_key

# Each row is in rising order. From deb-version(7), Debian policy 5.6.12, and dpkg's own t-version.c.
ORDERED = [
    ["1.0~beta1~svn1245", "1.0~beta1", "1.0"],
    ["0.9", "1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+", "1.0.1"],
    ["1.2.3", "1.2.10", "1:0.1"],
    ["1.0-1~bpo1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-2", "1.0-10"],
    ["2:1.0-1", "10:0.1-1"],
    ["1.0-0-1", "1.0-1-0"],
    ["14.2.0-8", "14.2.0-19", "14.2.0-19+deb13u1", "14.3.0-1"],
]
EQUAL = [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.0", "1.00"), ("1.a", "1.a0"), ("1.0-1.", "1.0-1.0"), ("01.1", "1.01")]


@pytest.mark.parametrize("row", ORDERED)
def test_published_orders(row: list[str]) -> None:
    assert sorted(set(row), key=version_key) == row
    for low, high in itertools.pairwise(row):
        assert satisfies(low, "<<", high)
        assert satisfies(high, ">>", low)
        assert not satisfies(high, "<=", low)


@pytest.mark.parametrize("pair", EQUAL)
def test_equal_though_written_differently(pair: tuple[str, str]) -> None:
    assert version_key(pair[0]) == version_key(pair[1])
    assert satisfies(pair[0], "=", pair[1])
    assert satisfies(pair[0], ">=", pair[1])


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("1:2.3-4-5", (1, "2.3-4", "5")),
        ("1.0~", (0, "1.0~", "")),
        ("3:1:2-1", (3, "1:2", "1")),
        ("1.0+dfsg.-1", (0, "1.0+dfsg.", "1")),
    ],
)
def test_split(version: str, parts: tuple[int, str, str]) -> None:
    assert split(version) == parts


@pytest.mark.parametrize(
    "version", ["", "-", "-1", "1.0-", "1 0", "1.0_1", "1:", "a:1", "1.0\n", "1.0-1:2", "\uff11.0", "9" * 300, "1/2"]
)
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="Debian version"):
        version_key(version)


_PART = st.text(alphabet="0129azAZ~+.", min_size=1, max_size=8).map(lambda text: "0" + text)
_VERSION = st.builds(
    lambda epoch, upstream, revision: epoch + upstream + revision,
    st.sampled_from(["", "0:", "1:", "12:"]),
    _PART,
    st.one_of(st.just(""), st.text(alphabet="0129aZ~+.", min_size=1, max_size=5).map(lambda text: "-" + text)),
)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the judge")
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(_VERSION, _VERSION), min_size=40, max_size=40))
def test_agrees_with_dpkg(pairs: list[tuple[str, str]]) -> None:
    # Versions like "1.0" and "1.0-0" against each other are the hard ones; a shared prefix makes them common.
    pairs += [(left, left[:-1] or "0") for left, _ in pairs if left[:-1][-1:] not in ("-", ":")]
    script = "".join(
        f"dpkg --compare-versions '{left}' lt '{right}' 2>/dev/null; echo $?; "
        f"dpkg --compare-versions '{left}' eq '{right}' 2>/dev/null; echo $?\n"
        for left, right in pairs
    )
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    for (left, right), less, equal in zip(pairs, said[::2], said[1::2], strict=True):
        assert (less, equal) == (
            "0" if version_key(left) < version_key(right) else "1",
            "0" if version_key(left) == version_key(right) else "1",
        ), (left, right)


@given(_VERSION, _VERSION, _VERSION)
def test_an_order(one: str, two: str, three: str) -> None:
    low, middle, high = sorted((one, two, three), key=version_key)
    assert satisfies(low, "<=", middle)
    assert satisfies(middle, "<=", high)
    assert satisfies(low, "<=", high)
    assert satisfies(one, "=", two) == (not satisfies(one, "<<", two) and not satisfies(one, ">>", two))
