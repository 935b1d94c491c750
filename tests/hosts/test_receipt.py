"""Receipts from outside: the golden ones are read, and whatever an image or a host may send instead is one error."""

import copy
import json
import os
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError
from builder.hosts import receipt
from builder.hosts.receipt import Claim

RECEIPTS = Path(__file__).parents[1] / "vectors/protocol/receipts"
GOLDEN = sorted(path.name for path in RECEIPTS.iterdir() if path.name != "expected.json")
DONE = json.loads((RECEIPTS / "done.json").read_bytes())
REFUSED = json.loads((RECEIPTS / "refused.json").read_bytes())


def sealed(document):
    """The document as a liar would send it: canonical, with the right hashes."""
    for part in ("inputs", "prepared", "outputs"):
        group = document["result"].get(part)
        if isinstance(group, dict) and isinstance(group.get("tensors"), dict):
            group["sha256"] = receipt._hash(group["tensors"])
    document["sha256"] = receipt._hash(document["result"])
    document["binding"] = receipt._hash({"host": document["host"], "result": document["result"]})
    return rfc8785.dumps(document) + b"\n"


def changed(document, path, value):
    """A copy with one value put in, or taken out where it is `...`."""
    made = copy.deepcopy(document)
    *way, last = path
    place = made
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_receipts_are_read(name):
    found = receipt.read(RECEIPTS / name)
    expected = json.loads((RECEIPTS / "expected.json").read_bytes())[name]
    assert (found.sha256, found.binding) == (expected["sha256"], expected["binding"])
    assert found.document == json.loads((RECEIPTS / name).read_bytes())


def test_what_a_finished_run_says():
    found = receipt.read(RECEIPTS / "done.json")
    assert found.result.status == "ok"
    assert found.result.outputs.tensors["y"].shape == [2]
    assert found.result.profile.threads == 2
    assert found.host["vendor"] == "GenuineIntel"
    assert found.used == {"memory": 104857600, "threads": 9}
    assert receipt.read(RECEIPTS / "traced.json").trace.sha256 == "4" * 64


def test_what_a_refused_host_says():
    error = receipt.read(RECEIPTS / "refused.json").result.error
    assert (error.step, error.exit, error.refused) == ("initialise", 3, True)
    assert error.unmet[0].needed == "x86-64-v3"
    assert not receipt.read(RECEIPTS / "execute.json").result.error.refused


def test_sealing_changes_nothing_that_is_right():
    assert sealed(copy.deepcopy(DONE)) == (RECEIPTS / "done.json").read_bytes()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("result", "protocol"), 2, "result.protocol"),
        (("result", "protocol"), True, "result.protocol"),
        (("result", "status"), "fine", "result.status"),
        (("result", "status"), "error", "its status is 'error', and it has no error"),
        (("result", "error"), {"step": "output", "exit": 2, "message": ""}, "its status is 'ok', and it has an error"),
        (("result", "outputs"), ..., "its status is 'ok', and it has no outputs"),
        (("result", "program"), ..., "its status is 'ok', and it has no program"),
        (("result", "image"), ..., "result.image"),
        (("result", "image"), "sha256:" + "A" * 64, "result.image"),
        (("result", "image"), "latest", "result.image"),
        (("result", "more"), 1, "result.more"),
        (("result", "seed"), -1, "result.seed"),
        (("result", "seed"), "42", "result.seed"),
        (("result", "platform"), "linux/riscv64", "result.platform"),
        (("result", "profile", "environment", "NPROC"), 2, "result.profile.environment.NPROC"),
        (("result", "outputs", "tensors", "y", "shape"), [2, -1], "result.outputs.tensors.y.shape.1"),
        (("result", "outputs", "tensors", "y", "shape"), "[2]", "result.outputs.tensors.y.shape"),
        (("result", "outputs", "tensors", "y", "dtype"), "../../etc", "result.outputs.tensors.y.dtype"),
        (("result", "outputs", "tensors", "y", "sha256"), "0" * 63, "result.outputs.tensors.y.sha256"),
        (("result", "outputs", "tensors"), [], "result.outputs.tensors"),
        (("host", "cores"), 2.5, "host.cores"),
        (("host", "cores"), None, "host.cores"),
        (("host", "cores"), {"deep": 1}, "host.cores"),
        (("microseconds", "input"), -1, "microseconds.input"),
        (("used",), ..., "used"),
        (("preview", "y"), 3, "preview.y"),
        (("trace",), "x", "trace"),
        (("trace",), {"mode": "hashes", "sha256": "x"}, "trace.sha256"),
        (("more",), 1, "more"),
    ],
)
def test_a_lie_with_the_right_hashes(path, value, reason):
    with pytest.raises(IntegrityError, match=r"^the receipt is malformed: ") as caught:
        receipt.parse(sealed(changed(DONE, path, value)), where="r")
    assert reason in caught.value.message
    assert caught.value.where == "r"
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("exit_code", [0, 1, 70, 139])
def test_a_failure_has_an_exit_code_of_the_protocol(exit_code):
    with pytest.raises(IntegrityError, match=r"result\.error\.exit"):
        receipt.parse(sealed(changed(REFUSED, ("result", "error", "exit"), exit_code)), where="r")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("sha256",), "0" * 64, "has another sha256 than its result"),
        (("binding",), "0" * 64, "has another binding than its result and host"),
        (("result", "seed"), 43, "has another sha256 than its result"),
        (("host", "model"), 61, "has another binding than its result and host"),
        (("result", "outputs", "sha256"), "0" * 64, "its sha256 is not that of its tensors"),
        (("result", "inputs", "tensors", "text", "sha256"), "0" * 64, "its sha256 is not that of its tensors"),
    ],
)
def test_a_hash_that_is_wrong(path, value, reason):
    with pytest.raises(IntegrityError, match=reason):
        receipt.parse(rfc8785.dumps(changed(DONE, path, value)) + b"\n", where="r")


GOOD = (RECEIPTS / "done.json").read_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"NaN\n",
        b"1e999\n",
        b'"\\ud800"\n',
        b"9" * 5000 + b"\n",
        b"[" * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n",
        GOOD[:-1],
        GOOD + b"\n",
        b" " + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b'"seed":42', b'"seed":42.0'),
        GOOD.replace(b'"seed":42', b'"seed":42,"seed":42'),
        GOOD.replace(b'"seed":42', b'"seed": 42'),
        GOOD[: len(GOOD) // 2],
    ],
)
def test_bytes_that_are_no_receipt(data):
    with pytest.raises(IntegrityError, match=r"^the receipt "):
        receipt.parse(data, where="r")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_comes_is_one_error(data):
    with pytest.raises(IntegrityError):
        receipt.parse(data, where="r")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_of_what_is_hashed_can_be_changed_unseen(at, flip):
    """What may change is what no hash covers: durations, used, preview."""
    data = bytearray(GOOD)
    data[at] ^= flip
    try:
        found = receipt.parse(bytes(data), where="r")
    except IntegrityError:
        return
    assert (found.document["result"], found.document["host"]) == (DONE["result"], DONE["host"])


def test_a_receipt_without_end(tmp_path):
    path = tmp_path / "receipt.json"
    with path.open("wb") as file:
        file.truncate(receipt.LARGEST + 1)
    with pytest.raises(IntegrityError, match="is larger than 16 MiB"):
        receipt.read(path)


def test_what_is_no_file(tmp_path):
    (tmp_path / "link").symlink_to(RECEIPTS / "done.json")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in [
        ("absent", "there is no receipt"),
        ("link", "the receipt is a link"),
        ("pipe", "not a regular file"),
        ("folder", "not a regular file"),
    ]:
        with pytest.raises(IntegrityError, match=reason) as caught:
            receipt.read(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_a_receipt_of_the_run_that_was_asked_for():
    result = DONE["result"]
    claim = Claim(
        image=result["image"],
        index=result["index"],
        platform="linux/amd64",
        spec=result["spec"],
        program=result["program"],
        seed=42,
        inputs=result["inputs"]["sha256"],
    )
    receipt.require(receipt.read(RECEIPTS / "done.json"), claim, where="r")
    receipt.require(receipt.read(RECEIPTS / "input.json"), Claim(image=result["image"], inputs="0" * 64), where="r")


def test_a_receipt_of_another_run_says_every_difference():
    claim = Claim(image="sha256:" + "9" * 64, seed=7, inputs="0" * 64, platform="linux/amd64")
    with pytest.raises(IntegrityError) as caught:
        receipt.require(receipt.read(RECEIPTS / "done.json"), claim, where="r")
    parts = caught.value.message.removeprefix("the receipt is of another run: ").split("; ")
    assert [part.split()[0] for part in parts] == ["image", "seed", "inputs"]
    assert "seed 42, not 7" in parts


@pytest.mark.parametrize("name", ["by-hand.json", "no-spec.json", "refused.json"])
def test_an_image_that_was_not_told_its_digest_does_not_pass_for_one(name):
    found = receipt.read(RECEIPTS / name)
    with pytest.raises(IntegrityError, match="image "):
        receipt.require(found, Claim(image="sha256:" + "9" * 64), where="r")
