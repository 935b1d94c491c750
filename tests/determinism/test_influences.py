"""The influence table is complete and consistent, and what a spec does to it is said plainly."""

import re
from pathlib import Path
from platform import machine

import pytest

from builder.determinism import reference
from builder.determinism.check import checked
from builder.determinism.held import How, holdings, nobodys, overrides
from builder.determinism.influence import Seen
from builder.determinism.influences import INFLUENCES
from builder.determinism.pins import environment
from builder.determinism.table import CLOSED, NUMERIC
from builder.spec.findings import SpecErrors

REPOSITORY = Path(__file__).parents[2]
AMD64, ARM64 = "linux/amd64", "linux/arm64"
KERNEL = """\
schema = 1
[kernel]
name = "k"
version = "1.0.0"
entry = "model:f"
[inputs.x]
dtype = "float32"
[outputs.y]
dtype = "float32"
"""


def spec_of(tmp_path, text=""):
    path = tmp_path / "spec.toml"
    path.write_text(KERNEL + text)
    return checked(path)


def test_every_pin_belongs_to_an_influence_and_every_influence_names_real_pins():
    assert {name for item in INFLUENCES for name in item.pins} == {pin.name for pin in (*CLOSED, *NUMERIC)}


def test_names_are_unique_and_say_what_they_stand_for():
    names = [item.name for item in INFLUENCES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert all(item.factor and item.acts and item.evidence and item.source for item in INFLUENCES)


def test_localisation_suspects_whatever_can_move_bits_of_one_image_and_nothing_else():
    from builder.harness.localise_causes import CHANGED, LOADED, PROGRAM, TABLE

    spoken = {row.influence for row in (*TABLE, *LOADED)} | {name for name, _ in CHANGED.values()} | {PROGRAM[0]}
    assert spoken <= {item.name for item in INFLUENCES}
    moving = {item.name for item in INFLUENCES if item.seen is Seen.MOVED}
    # The image's bytes hold the first, its environment the second; the third shows as threads, the last is refused.
    assert moving - spoken == {"os", "x64", "affinity", "rounding-mode"}


def test_localisation_knows_every_pin_of_what_it_suspects():
    from builder.harness.localise_causes import LOADED, TABLE

    pins = {item.name: set(item.pins) for item in INFLUENCES}
    assert all(row.knobs == pins[row.influence] for row in (*TABLE, *LOADED))
    (products,) = [row for row in TABLE if row.influence == "matmul-dispatch"]
    assert "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL" in products.knobs


def test_localisation_names_facts_that_receipts_have():
    from builder.harness.localise_causes import LOADED, TABLE
    from kernels.runtime.host import observe

    named = {fact for row in (*TABLE, *LOADED) for fact in row.facts}
    assert named - observe().described().keys() <= ({"caches_cpu"} if machine() != "x86_64" else set())


def test_the_profile_pins_whatever_has_a_pin():
    for platform in (AMD64, ARM64):
        found = {item.influence.name: item for item in holdings(nobodys(), platform)}
        assert {item.how for item in found.values() if item.influence.pins} == {How.PINNED}
        assert {name for name, item in found.items() if item.how is How.OPEN} == {
            "inputs", "cache-sizes", "sys", "memory-layout",
        }  # fmt: skip
    assert "matmul-dispatch" not in found  # oneDNN is x86's


def test_without_a_profile_nothing_numeric_is_pinned(tmp_path):
    spec = spec_of(tmp_path, '[determinism]\nprofile = "none"\n')
    found = {item.influence.name: item.how for item in holdings(spec, AMD64)}
    assert found["threads"] is How.OPEN
    assert found["time-zone"] is How.PINNED
    assert overrides(spec, AMD64) == []


def test_an_overridden_flag_says_what_it_costs(tmp_path):
    spec = spec_of(tmp_path, '[xla.flags]\nxla_cpu_max_isa = "AVX512"\nxla_cpu_own = "x"\nxla_cpu_ftz = false\n')
    (override,) = overrides(spec, AMD64)
    assert override.cost() == (
        "the spec sets xla_cpu_max_isa to AVX512, which `pinned` sets to AVX2; results may differ between hosts: "
        "code that XLA makes follows the host's instruction set: vector width and FMA contraction"
    )
    found = {item.influence.name: item for item in holdings(spec, AMD64)}
    assert found["fma-contraction"].how is How.OVERRIDDEN
    assert found["fma-contraction"].values == {"xla_cpu_max_isa": "AVX512"}


def test_unpin_leaves_pins_out_and_says_so(tmp_path):
    spec = spec_of(tmp_path, '[determinism]\nunpin = ["lapack-dispatch", "vector-width"]\n')
    found = {item.influence.name: item for item in holdings(spec, AMD64)}
    assert found["lapack-dispatch"].how is How.UNPINNED
    assert found["lapack-dispatch"].values == {}
    assert found["lapack-threads"].how is How.PINNED
    assert [(item.name, item.value) for item in overrides(spec, AMD64)] == [
        ("OPENBLAS_CORETYPE", None), ("xla_cpu_prefer_vector_width", None),
    ]  # fmt: skip
    assert "leaves OPENBLAS_CORETYPE out" in overrides(spec, AMD64)[0].cost()


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ('[determinism]\nunpin = ["lapack-dispach"]\n', 11, "no influence that the profile pins", "lapack-dispatch"),
        ('[determinism]\nunpin = ["time-zone"]\n', 11, "no influence that the profile pins", "kbuild influences"),
        ('[determinism]\nprofile = "none"\nunpin = ["threads"]\n', 12, "nothing is pinned", "leave unpin out"),
        ('[hardware]\nforbid = ["flush-to-zero"]\n', 11, "cannot be ruled out", "take 'flush-to-zero' out"),
        (
            '[hardware]\nforbid = ["fast-math"]\n[xla.flags]\nxla_cpu_enable_fast_math = true\n',
            11, "is forbidden, but", "take xla_cpu_enable_fast_math out",
        ),
    ],
)  # fmt: skip
def test_what_the_tables_refuse_is_found_at_its_place(tmp_path, text, line, message, hint):
    with pytest.raises(SpecErrors) as caught:
        spec_of(tmp_path, text)
    (finding,) = caught.value.findings
    assert finding.line == line
    assert message in finding.message
    assert hint in (finding.hint or "")


def test_only_portable_numerics_keep_subnormal_numbers(tmp_path):
    spec = spec_of(tmp_path, '[determinism]\nprofile = "portable"\n[hardware]\nforbid = ["flush-to-zero"]\n')
    assert spec.hardware.forbid == ("flush-to-zero",)
    pinned = spec_of(tmp_path)
    assert environment(spec, AMD64) == environment(pinned, AMD64), "what runs around the program is pinned alike"


def test_the_reference_is_the_table():
    assert (REPOSITORY / "docs" / "influences.md").read_text(encoding="utf-8") == reference.page()
