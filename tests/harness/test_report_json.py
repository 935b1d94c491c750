"""The report for programs: complete, plain, and documented key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report_samples

from builder.harness import report
from builder.harness.report_json import diff_to_json

DOCUMENT = (Path(__file__).parents[2] / "docs" / "compare.md").read_text()


def keys(
    value: Any, *, free: frozenset[str] = frozenset({"receipt", "conditions", "counts", "manifests"})
) -> Iterator[str]:
    """All keys that are the schema's own, not names of tensors or a receipt's."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key in {"tensors", "inputs", "outputs"} and isinstance(item, dict):
                for inner in item.values():
                    yield from keys(inner)
            elif key not in free:
                yield from keys(item)


def test_it_is_plain_json_and_says_everything() -> None:
    found = report.to_json(report_samples.everything())
    assert json.loads(json.dumps(found)) == found
    assert found["schema"] == "kbuild.report/1"
    assert found["conclusion"] == "differs"
    assert found["counts"] == {"equal": 3, "differs": 2, "failed": 1, "refused": 1, "timed out": 1, "alone": 1}
    assert len(found["runs"]) == 9
    assert found["runs"][2]["conditions"] == {"cpu": "Haswell"}
    assert found["runs"][2]["receipt"]["result"]["outputs"]["tensors"]["logits"]["sha256"] == report_samples.B
    split = [(group["label"], [member["host"] for member in group["members"]]) for group in found["groups"][1:3]]
    assert split == [("A", ["native", "1 core", "hostile environment"]), ("B", ["haswell", "epyc-milan"])]
    (difference,) = found["differences"]
    assert difference["tensor"]["largest"] == 328
    assert difference["tensor"]["first"]["a"] == {"bits": "0xc0f3a1b2", "value": "-7.613488"}
    assert found["localisations"][0]["operations"][0]["line"] == 4
    assert [item["effect"] for item in found["influences"]] == ["moved", "held", "not varied"]


def test_platforms_that_are_compared_share_groups() -> None:
    found = report.to_json(report_samples.portable())
    both = ["linux/amd64", "linux/arm64"]
    logits = [group for group in found["groups"] if group["output"] == "logits"]
    assert [(group["label"], [member["host"] for member in group["members"]]) for group in logits] == [
        ("A", ["native", "haswell", "cortex-a72"]), ("B", ["arm-max"]),
    ]  # fmt: skip
    for item in (*found["groups"], *found["differences"], *found["localisations"]):
        assert (item["platform"], item["platforms"]) == (None, both)
    alone = report.to_json(report_samples.everything())["groups"][0]
    assert (alone["platform"], alone["platforms"]) == ("linux/amd64", ["linux/amd64"])


def test_nothing_of_this_machine_is_in_it() -> None:
    assert "/nonexistent" not in json.dumps(report.to_json(report_samples.everything()))


def test_every_key_is_documented() -> None:
    compared = diff_to_json("a", "b", [report_samples.TENSOR])
    assert compared["equal"] is False
    for key in {*keys(report.to_json(report_samples.everything())), *keys(compared)}:
        assert re.search(rf"[`\"]{key}[`\"]", DOCUMENT), key
