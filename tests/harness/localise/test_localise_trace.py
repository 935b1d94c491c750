"""Traces from hosts that lie: whatever they hold, a trace is read as it is meant or refused with one error."""

import contextlib
import copy
import hashlib
import json
import os

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.harness import trace
from builder.harness.trace import Frame, Hashes, Loop, read
from builder.harness.trace_merkle import head, leaf_hash

ZERO = "0" * 64
PLACE = {"inputs": [], "outputs": [["float32", [2]]], "parameters": "", "source": None}


def leaf(path="0", **fields):
    return {"path": path, "primitive": "add", "parameters": ZERO, "inputs": [ZERO], "outputs": [ZERO]} | fields


def hashes(leaves, *, level=0, start=0, listed=None):
    bottom = [leaf_hash(rfc8785.dumps(one)) for one in leaves]
    chunks = [head(bottom[at : at + (1 << level)]) for at in range(0, len(bottom), 1 << level)]
    listed = leaves[start:] if listed is None else listed
    return {
        "version": 1, "mode": "hashes", "leaves": len(leaves), "level": level, "root": head(chunks).hex(),
        "chunks": [one.hex() for one in chunks], "window": {"start": start, "leaves": listed},
        "places": {trace.static(one["path"]): PLACE for one in listed},
        "outputs": {"y": {"dtype": "float32", "shape": [2], "sha256": ZERO}},
    }  # fmt: skip


FRAME = {
    "version": 1, "mode": "segments", "frame": "", "inputs": [ZERO], "cuts": [{"cut": 1, "values": [["0:out0", ZERO]]}],
    "equations": [{"path": "0", "primitive": "add", "takes": ["argument0"], **PLACE}],
    "segments": [{"segment": [0, 1], "inputs": [["argument0", ZERO]], "outputs": []}],
}  # fmt: skip
LOOP = {
    "version": 1, "mode": "segments", "frame": "3",
    "loop": {"primitive": "scan", "length": 2, "iterations": [{"passes": 1, "made": 1, "values": [ZERO]}]},
}  # fmt: skip
GOOD = hashes([leaf("key", primitive="key", inputs=[]), leaf("0/i0/1"), leaf("0")])


def written(folder, document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    (folder / trace.FILE).write_bytes(data)
    return folder


def test_what_is_read(tmp_path):
    found = read(written(tmp_path, GOOD), Hashes)
    assert [one.path for one in found.window.leaves] == ["key", "0/i0/1", "0"]
    assert found.place(found.window.leaves[1]).outputs == (("float32", (2,)),)
    assert read(written(tmp_path, FRAME), Frame).equations[0].takes == ("argument0",)
    assert read(written(tmp_path, LOOP), Loop).loop.iterations[0].made == 1


@pytest.mark.parametrize(("level", "start", "stop"), [(1, 0, 7), (1, 2, 5), (2, 4, 7), (2, 1, 3), (0, 6, 9), (3, 0, 0)])
def test_a_part_of_the_leaves(tmp_path, level, start, stop):
    leaves = [leaf(str(number)) for number in range(7)]
    found = read(written(tmp_path, hashes(leaves, level=level, start=start, listed=leaves[start:stop])), Hashes)
    assert (found.leaves, len(found.window.leaves)) == (7, max(0, min(stop, 7) - start))


def changed(document, *path):
    *path, value = path
    document = copy.deepcopy(document)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


OTHER = hashlib.sha256().hexdigest()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "not a trace"),
        (b"\xff", "not a trace"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"version":1,"version":1}', "twice"),
        (b'{"version":NaN}', "no JSON"),
        (changed(GOOD, "version", 2), "version"),
        (changed(GOOD, "more", 1), "more"),
        (changed(GOOD, "root", OTHER), "the root is not that of the chunks"),
        (changed(GOOD, "root", "x"), "root"),
        (changed(GOOD, "chunks", 1, OTHER), "root"),
        (changed(GOOD, "leaves", 4), "4 leaves are not 3 chunks"),
        (changed(GOOD, "leaves", 10**17), "leaves"),
        (changed(GOOD, "level", 60), "level"),
        (changed(GOOD, "window", "leaves", 1, "outputs", [OTHER]), "chunk 1 is not that of its leaves"),
        (changed(GOOD, "window", "start", 1), "more leaves than there are"),
        (changed(GOOD, "window", "leaves", GOOD["window"]["leaves"] * 2000), "window.leaves"),
        (changed(GOOD, "window", "leaves", 0, "path", "x" * 5000), "path"),
        (changed(GOOD, "places", {}), "place is not described"),
        (changed(GOOD, "places", "0", "source", {"file": "x", "line": -1, "function": "f"}), "line"),
        (changed(GOOD, "chunks", [ZERO] * 4097), "chunks"),
        (FRAME, "not a trace"),
    ],
)
def test_what_is_refused(tmp_path, document, reason):
    with pytest.raises(IntegrityError, match=reason):
        read(written(tmp_path, document), Hashes)


def test_leaves_in_another_order_are_refused(tmp_path):
    swapped = copy.deepcopy(GOOD)
    swapped["window"]["leaves"].reverse()
    with pytest.raises(IntegrityError, match="chunk 0"):
        read(written(tmp_path, swapped), Hashes)


def test_no_file_or_another_kind_of_file(tmp_path):
    with pytest.raises(IntegrityError, match="left no trace"):
        read(tmp_path, Hashes)
    secret = tmp_path / "secret"
    written_to = written(tmp_path, GOOD) / trace.FILE
    written_to.rename(secret)
    (tmp_path / trace.FILE).symlink_to(secret)
    with pytest.raises(IntegrityError, match="left no trace"):
        read(tmp_path, Hashes)
    (tmp_path / trace.FILE).unlink()
    os.mkfifo(tmp_path / trace.FILE)
    with pytest.raises(IntegrityError, match="left no trace"):
        read(tmp_path, Hashes)


def test_a_file_without_end(tmp_path):
    with (tmp_path / trace.FILE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(IntegrityError, match="larger than"):
        read(tmp_path, Hashes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4) | st.just(ZERO),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, *FRAME, *LOOP]), inner),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.sampled_from([(GOOD, Hashes), (FRAME, Frame), (LOOP, Loop)]), st.data())
def test_any_change_is_read_or_refused(tmp_path_factory, which, data):
    document, form = which
    key = data.draw(st.sampled_from(sorted(document)))
    folder = tmp_path_factory.mktemp("changed")
    written(folder, changed(document, key, data.draw(JSON)))
    with contextlib.suppress(IntegrityError):
        read(folder, form)
