"""Canonical JSON against RFC 8785's own example, and against an implementation that nobody here wrote."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from kernels.runtime import canonical

# No lone surrogates: neither side encodes them.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-canonical.LARGEST, canonical.LARGEST) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def test_sorts_as_the_rfc_shows():
    # RFC 8785 section 3.2.3: by UTF-16 code units, which is not the order of code points.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    expected = '{"\\r":0,"1":0,"\x80":0,"\u00f6":0,"\u20ac":0,"\U0001f600":0,"\ufb33":0}'
    assert canonical.dumps(dict.fromkeys(keys, 0)) == expected.encode()


@given(VALUES)
def test_agrees_with_the_reference(value):
    assert canonical.dumps(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [1.5, {1: 2}, b"x", [object()]])
def test_refuses_what_has_no_one_form(value):
    with pytest.raises((TypeError, AttributeError)):
        canonical.dumps(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800"])
def test_refuses_what_json_does_not_hold(value):
    with pytest.raises(ValueError, match=r"exactly|surrogates"):
        canonical.dumps(value)
