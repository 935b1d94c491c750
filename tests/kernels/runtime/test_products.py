"""Products that follow the CPU's caches, told from a compiled program's text."""

import pytest

from kernels.runtime.products import following_caches, note

HEAD = "HloModule jit_f, is_scheduled=true\n\n"
DOT = """\
ENTRY %main.1 (x.1: f32[{k},{m}], y.1: f32[{k},{n}]) -> f32[{m},{n}] {{
  %x.1 = {t}[{k},{m}]{{1,0}} parameter(0), metadata={{op_name="x"}}
  %y.1 = {t}[{k},{n}]{{1,0}} parameter(1), metadata={{op_name="y"}}
  ROOT %dot.1 = {t}[{m},{n}]{{1,0}} dot(%x.1, %y.1), lhs_contracting_dims={{0}}, rhs_contracting_dims={{0}}
}}
"""
FUSED = """\
%fused_computation (p.0: f32[4,4096], p.1: f32[4096,4]) -> f32[4,4] {
  %p.0 = f32[4,4096]{1,0} parameter(0)
  %p.1 = f32[4096,4]{1,0} parameter(1)
  ROOT %dot.0 = f32[4,4]{1,0} dot(%p.0, %p.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main.1 (x.1: f32[4,4096], y.1: f32[4096,4]) -> f32[4,4] {
  %x.1 = f32[4,4096]{1,0} parameter(0)
  %y.1 = f32[4096,4]{1,0} parameter(1)
  ROOT %ynn_fusion = f32[4,4]{1,0} fusion(%x.1, %y.1), kind=kCustom, calls=%fused_computation
}
"""
BATCHED = """\
%body (p: f32[3,2048,5]) -> f32[3,5,6] {
  %x.1 = f32[3,2048,5]{2,1,0} parameter(0)
  %y.1 = f32[3,2048,6]{2,1,0} constant({...})
  ROOT %d = f32[3,5,6]{2,1,0} dot(%x.1, %y.1), lhs_batch_dims={0}, lhs_contracting_dims={1}, rhs_batch_dims={0}, \
rhs_contracting_dims={1}
}
"""


@pytest.mark.parametrize(
    ("dtype", "m", "k", "n", "expected"),
    [
        ("f32", 4, 4096, 3, ["f32[4, 3] over 4096 values"]),
        ("c128", 2, 321, 2, ["c128[2, 2] over 321 values"]),
        ("f32", 4, 320, 4, []),
        ("f32", 1, 4096, 4, []),
        ("f32", 4, 4096, 1, []),
        ("s32", 4, 4096, 4, []),
    ],
)
def test_a_product_on_its_own(dtype, m, k, n, expected):
    assert following_caches(HEAD + DOT.format(t=dtype, m=m, k=k, n=n)) == expected


def test_what_ynnpack_takes_does_not_follow():
    assert following_caches(HEAD + FUSED) == []


def test_a_loops_body_and_batches():
    assert following_caches(HEAD + BATCHED + FUSED) == ["f32[3, 5, 6] over 2048 values"]


def test_text_that_is_no_program():
    assert following_caches("") == following_caches("dot(\n} = f32[] dot(%a, %b)\n") == []


def test_a_note_names_a_few(capsys):
    note(HEAD + FUSED)
    assert capsys.readouterr().err == ""
    note(HEAD + "".join(DOT.format(t="f32", m=m, k=512, n=4) for m in range(2, 7)))
    said = capsys.readouterr().err
    assert said.startswith(
        "note: products that may follow the sizes of the CPU's caches, which nothing pins: f32[2, 4]"
    )
    assert "f32[4, 4] over 512 values and 2 more;" in said
    assert "optimization_barrier" in said
