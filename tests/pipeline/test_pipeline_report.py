"""A report comes back from the store as it went in, with every layer cached."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from builder.layers.entry import Layer
from builder.pipeline.report import BuildReport, MadeLayer, load
from builder.store.records import dump_record, parse_record

DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"sha256:{number:064x}")
SIZES = st.integers(0, 2**53 - 1)
LAYERS = st.builds(Layer, st.text(), DIGESTS, DIGESTS, DIGESTS, SIZES, SIZES, SIZES, st.text())
PLATFORMS = st.sampled_from(["linux/amd64", "linux/arm64"])
REPORTS = st.builds(
    BuildReport,
    name=st.text(),
    digest=DIGESTS,
    manifests=st.dictionaries(PLATFORMS, DIGESTS),
    layers=st.dictionaries(PLATFORMS, st.lists(st.builds(MadeLayer, LAYERS, st.booleans()), max_size=4)),
)


@given(REPORTS)
def test_round_trip(report: BuildReport) -> None:
    record = parse_record(dump_record(report.dump()))
    assert record is not None
    again = load(record)
    assert (again.name, again.digest, again.manifests) == (report.name, report.digest, report.manifests)
    for platform, layers in report.layers.items():
        assert [made.layer for made in again.layers[platform]] == [made.layer for made in layers]
        assert all(made.cached for made in again.layers[platform])
    assert again.layers.keys() == report.layers.keys()
    assert load(again.dump()) == again


def test_what_json_says() -> None:
    layer = Layer("base", *(f"sha256:{number:064x}" for number in (1, 2, 3)), 10, 20, 3, "media/type")
    report = BuildReport("tiny", f"sha256:{4:064x}", {"linux/amd64": f"sha256:{5:064x}"},
                         {"linux/amd64": [MadeLayer(layer, cached=False)]})  # fmt: skip
    assert json.loads(json.dumps(report.dump())) == {
        "name": "tiny",
        "digest": f"sha256:{4:064x}",
        "manifests": {"linux/amd64": f"sha256:{5:064x}"},
        "builders": [],
        "layers": {
            "linux/amd64": [
                {
                    "name": "base",
                    "tree_digest": f"sha256:{1:064x}",
                    "diff_id": f"sha256:{2:064x}",
                    "digest": f"sha256:{3:064x}",
                    "size": 10,
                    "tar_size": 20,
                    "files": 3,
                    "media_type": "media/type",
                    "cached": False,
                }
            ]
        },
    }
