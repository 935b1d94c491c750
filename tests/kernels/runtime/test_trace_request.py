"""Requests for a trace: each mode, and what is refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.runtime import trace_request
from kernels.runtime.errors import InputError
from kernels.runtime.trace_request import MOST, WINDOW, Hashes, Operations, Referee, Segments, Values, parse


def request(**fields):
    return json.dumps({"version": 1, **fields}).encode()


def test_each_mode():
    assert parse(request(mode="hashes")) == Hashes(0, WINDOW)
    assert parse(request(mode="hashes", window=[4096, 8192])) == Hashes(4096, 8192)
    paths = ["12/i3/7", "0/b1/2", "3/c0/1", "params['a']['b']", "inputs['x']", "key", "const[0]", "8/i2/const[1]"]
    assert parse(request(mode="values", equations=paths)) == Values(tuple(paths))
    assert parse(request(mode="operations")) == Operations(0, WINDOW)
    assert parse(request(mode="referee", equations=["12/i3/7"])) == Referee(("12/i3/7",))
    assert parse(request(mode="segments", cuts=[0, 3])) == Segments("", cuts=(0, 3))
    assert parse(request(mode="segments", frame="4/b", segments=[[1, 3]], values=True)) == Segments(
        "4/b", segments=((1, 3),), values=True
    )
    assert parse(request(mode="segments", frame="4", iterations=[2])) == Segments("4", iterations=(2,))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"version":2,"mode":"hashes"}',
        b'{"mode":"hashes"}',
        request(mode="all"),
        request(),
        request(mode="hashes", more=1),
        request(mode="hashes", window=[0, WINDOW + 1]),
        request(mode="hashes", window=[3, 3]),
        request(mode="hashes", window=[-1, 3]),
        request(mode="hashes", window=[True, 3]),
        request(mode="hashes", window=[0, 1e3]),
        request(mode="operations", window=[0, 1]),
        request(mode="referee"),
        request(mode="referee", equations=["key"]),
        request(mode="values"),
        request(mode="values", equations=["../x"]),
        request(mode="values", equations=[""]),
        request(mode="values", equations=["1"] * (MOST + 1)),
        request(mode="segments", frame="x"),
        request(mode="segments", cuts=[2**53]),
        request(mode="segments", segments=[[2, 1]]),
        request(mode="segments", values=1),
        b"[" * 100_000,
        b" " * (trace_request.LONGEST + 1),
    ],
)
def test_what_is_refused(data, tmp_path):
    path = tmp_path / ".trace.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="is no trace request of version 1"):
        trace_request.read(path)


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["version", "mode", "window", "cuts", "frame", "equations"]), inner, max_size=4),
    max_leaves=8)))  # fmt: skip
def test_no_bytes_raise_anything_else(data):
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        parse(data)
