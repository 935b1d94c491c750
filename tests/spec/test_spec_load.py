"""Every error at once, each with its place and what to do; nothing else ever escapes."""

import os
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spec_samples import FULL, MINIMAL

from builder.errors import EnvironmentFault, KbuildError, SpecError
from builder.spec.findings import SHOWN, Finding, SpecErrors, printable, segments
from builder.spec.load import LIMIT, load, loads

REPORT = """\
error: unknown key 'pyhton'
 --> spec.toml:3:2
  |
3 | [pyhton]
  |  ^^^^^^
  = hint: did you mean 'python'?"""


def findings(text):
    with pytest.raises(SpecErrors) as caught:
        loads(text, "spec.toml")
    assert caught.value.exit_code == 2
    assert caught.value.diagnostics() == str(caught.value) == caught.value.message
    return caught.value.findings


def only(text):
    (finding,) = findings(text)
    return finding


def pointed(finding):
    return finding.source_line[finding.column - 1 : finding.column - 1 + finding.length]


def test_a_minimal_and_a_full_spec():
    assert loads(MINIMAL, "x").determinism.profile == "pinned"
    assert loads(FULL, "x").hardware.cpu.arm64 == "armv9-a"


def test_the_report_looks_as_promised():
    text = MINIMAL.replace("schema = 1\n", "schema = 1\n\n[pyhton]\n")
    with pytest.raises(SpecErrors) as caught:
        loads(text, "spec.toml")
    assert caught.value.message == REPORT
    assert "".join(segment.text for segment in segments(caught.value.findings[0])).rstrip() == REPORT
    assert caught.value.findings == (
        Finding("spec.toml", 3, 2, 6, "unknown key 'pyhton'", "did you mean 'python'?", "[pyhton]"),
    )


def test_everything_is_reported_at_once_in_order():
    text = (
        MINIMAL.replace('"tiny"', '"Tiny Net"')
        .replace('["batch", 4]', '["batch", -4]')
        .replace('"model:forward"', '"model.forward"\nfiles = ["../x"]')
        + '[determinism]\nthreads = "2"\nprofile = "pined"\n[compiler]\nflags = ["-O2", "-march=native", 3]\n'
    )
    found = findings(text)
    assert [(f.line, pointed(f)) for f in found] == [
        (4, '"Tiny Net"'), (6, '"model.forward"'), (7, '"../x"'), (11, "-4"), (17, '"2"'), (18, '"pined"'),
        (20, '"-march=native"'), (20, "3"),
    ]  # fmt: skip
    assert [f.hint for f in found][4:6] == ["write it without quotes: 2", "did you mean 'pinned'?"]
    assert "write 'tiny-net'" in found[0].hint


@pytest.mark.parametrize(
    ("old", "new", "points", "message", "hint"),
    [
        ("entry =", "entyr =", "entyr", "unknown key 'entyr'", "did you mean 'entry'?"),
        ("[inputs.x]", "seed = 1\n[inputs.x]", "seed", "unknown key 'seed'", "'seed' belongs into [determinism]"),
        ("schema = 1", "schema = 2", "2", "2 is not a schema that this kbuild reads", "write schema = 1"),
        ("schema = 1", "schema = true", "true", "true is not a schema that this kbuild reads", "write schema = 1"),
        ('"float32"', '"float31"', '"float31"', "'float31' is not a value of dtype", "did you mean 'float32'?"),
        ('"float32"', "32", "32", "dtype must be a string, not 32", None),
        ('["batch", 4]', '"batch"', '"batch"', "shape must be an array, not 'batch'", 'write ["batch"]'),
        ('["batch", 4]', "[1.5]", "1.5", "1.5 is not a dimension", None),
        ("[inputs.x]", "[inputs.'x y']", "'x y'", "'x y' is not a name", None),
        ('"1.0.0"', '"1.0"', '"1.0"', "'1.0' is not a version", "write three numbers such as '1.0.0'"),
        ('"1.0.0"', "1979-05-27", "1979-05-27", "version must be a string, not the date or time 1979-05-27", None),
        ("[inputs.x]", "[compiler]\nversion = '14.x'\n[inputs.x]", "'14.x'", "'14.x' is not a version", None),
        ("[inputs.x]", "[os]\npackages = ['A b']\n[inputs.x]", "'A b'", "'A b' is not a Debian package", None),
        ("[inputs.x]", "[xla]\nflags.a = 1\n[inputs.x]", "a", "'a' is not a flag of XLA", None),
        ("[inputs.x]", "[weights.A]\nsource = 'file:a'\n[inputs.x]", "A", "'A' is not a name", None),
        ("[inputs.x]", "[os]\nupdates = 1\n[inputs.x]", "1", "updates must be true or false, not 1", None),
        ("[inputs.x]", "[weights]\nw = 3\n[inputs.x]", "3", "w must be a table, not 3", None),
    ],
)
def test_each_kind_of_error(old, new, points, message, hint):
    finding = only(MINIMAL.replace(old, new, 1))
    assert (finding.message, pointed(finding)) == (message, points)
    assert finding.hint if hint is None else finding.hint == hint


def test_what_is_missing_is_shown_at_its_table():
    finding = only(MINIMAL.replace('version = "1.0.0"\n', ""))
    assert finding.message == "key 'version' is missing in [kernel]"
    assert pointed(finding) == "kernel"
    assert finding.hint.startswith('add version = "1.0.0"')
    assert [f.message for f in findings("")] == [
        "key 'schema' is missing",
        "there is no table [inputs]",
        "there is no table [kernel]",
        "there is no table [outputs]",
    ]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a = \n", (1, 5), "invalid value"),
        ("a = foo\n", (1, 5), "'foo' is not a value"),
        ("a = 1\na = 2", (2, 1), "a is set a second time"),
        ("[a]\n[b]\n[a]\n", (3, 1), "[a] is defined a second time"),
        ("x = [1,\n", (2, 1), "the file ends in the middle of a value"),
        ('x = "abc\ny = 1\n', (1, 9), "the string does not end on its line"),
        ("[k]\r\nx = = 3\r\n", (2, 5), "invalid value"),
        ("é = 1", (1, 1), "invalid statement"),
        ("a = " + "9" * 5000, (1, 5), "a number has too many digits"),
        ("a = " + "[" * 5000, (0, 0), "arrays or tables are nested too deeply"),
        ("\ufeffschema = 1", (0, 0), "the file starts with a byte order mark"),
    ],
)  # fmt: skip
def test_toml_errors(text, place, message):
    finding = only(text)
    assert ((finding.line, finding.column), finding.message) == (place, message)


def test_line_ends_do_not_matter():
    assert loads(MINIMAL.replace("\n", "\r\n"), "x") == loads(MINIMAL, "x")
    finding = only(MINIMAL.replace("\n", "\r\n").replace('"1.0.0"', "1"))
    assert (finding.line, finding.column, finding.source_line) == (5, 11, "version = 1")


def test_toml_1_1_is_one_dialect_everywhere():
    text = MINIMAL + "[hardware]\ncpu = {\n  amd64 = 'x86-64-v9', # too new\n}\n"
    finding = only(text)
    assert (finding.line, pointed(finding)) == (17, "'x86-64-v9'")


def test_wide_and_hostile_characters_keep_the_caret_in_place():
    finding = only(MINIMAL + '[weights]\n"世界" = { source = "file:a" }\n')
    source, caret = "".join(s.text for s in segments(finding)).splitlines()[3:5]
    assert source.endswith('"世界" = { source = "file:a" }')
    assert caret == "   | " + "^" * 6
    shown = only("\x1b[31m = 1\n")
    text = "".join(segment.text for segment in segments(shown))
    assert "\x1b" not in text
    assert printable("a\tb\u202ec\ud800") == "a b\ufffdc\ufffd"


def test_reports_stay_short():
    with pytest.raises(SpecErrors) as caught:
        loads("".join(f"k{i} = 1\n" for i in range(1000)) + MINIMAL, "spec.toml")
    assert len(caught.value.findings) == 1000
    assert caught.value.message.count("error: ") == SHOWN
    assert caught.value.message.endswith("and 960 more errors")
    long = only("x" * 100_000 + " = 1\n" + MINIMAL)
    assert len("".join(segment.text for segment in segments(long))) < 700


def test_files(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_bytes(MINIMAL.encode())
    assert load(path) == loads(MINIMAL, "x")
    path.write_bytes(MINIMAL.encode() + b"#" * (LIMIT - len(MINIMAL)))
    assert load(path)
    path.write_bytes(MINIMAL.encode() + b"#" * (LIMIT - len(MINIMAL) + 1))
    with pytest.raises(SpecError, match="larger than"):
        load(path)


def test_an_output_that_no_run_could_give_at_its_place():
    finding = only(MINIMAL.replace('dtype = "float32"\nshape = ["batch"]', 'dtype = "string"\nshape = ["batch"]'))
    assert (finding.line, pointed(finding)) == (13, '"string"')
    assert finding.hint.startswith("give numbers")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match="no such file") as caught:
        load(tmp_path / "spec.toml")
    assert "kbuild init" in caught.value.hint
    with pytest.raises(SpecError, match="folder"):
        load(tmp_path)
    with pytest.raises(EnvironmentFault):
        load(tmp_path / "\0")
    with pytest.raises(EnvironmentFault):
        load(tmp_path / ("x" * 300))


PINNED = MINIMAL + f'[compiler]\nnixpkgs = {{ rev = "{"0" * 40}", attribute = "gcc14" }}\n'
ONE = 'version = "1.0.0"\nplatforms = ["linux/amd64"]'


def test_a_compiler_of_nixpkgs_is_for_one_platform():
    assert loads(PINNED.replace('version = "1.0.0"', ONE), "spec.toml").compiler.nixpkgs
    with pytest.raises(SpecErrors, match="compiles for one platform, the builder's own") as caught:
        loads(PINNED, "spec.toml")
    (finding,) = caught.value.findings
    assert finding.line == PINNED[: PINNED.index("nixpkgs =")].count("\n") + 1
    two = ONE.replace('64"]', '64", "linux/arm64"]')
    with pytest.raises(SpecErrors, match="compiles for one platform"):
        loads(PINNED.replace('version = "1.0.0"', two), "spec.toml")


def test_zig_is_not_of_nixpkgs():
    text = PINNED.replace('version = "1.0.0"', ONE).replace("[compiler]", '[compiler]\nname = "zig"')
    with pytest.raises(SpecErrors, match="zig comes from its wheel"):
        loads(text, "spec.toml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(MINIMAL)
    path.chmod(0)
    with pytest.raises(EnvironmentFault):
        load(path)


def test_encodings(tmp_path):
    path = tmp_path / "spec.toml"
    for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        path.write_bytes(mark + MINIMAL.encode())
        with pytest.raises(SpecErrors, match="byte order mark"):
            load(path)
    path.write_bytes(b'a = 1\nb = "gr\xfc\xdfe" # x\n')
    with pytest.raises(SpecErrors, match="not UTF-8") as caught:
        load(path)
    (finding,) = caught.value.findings
    assert (finding.line, finding.column) == (2, 8)


@given(st.text() | st.text(alphabet="ab\"'=[]{}.,#\n\r\\ 10-:T\u00e9\x00"))
@example('[kernel]\n"" = {"\\u0000" = 1}')
@example("a." * 3000 + "a = 1")
def test_garbage_gives_only_our_errors(text):
    with suppress(KbuildError):
        assert loads(text, "spec.toml").inputs


LINES = MINIMAL.splitlines(keepends=True) + FULL.splitlines(keepends=True)


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=8), max_size=30), st.randoms())
def test_shuffled_specs_give_only_our_errors(lines, random):
    random.shuffle(lines)
    with suppress(KbuildError):
        assert loads("".join(lines), "spec.toml").inputs


@given(st.binary(max_size=200))
def test_garbage_files_give_only_our_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_bytes(data)
    with pytest.raises(KbuildError):
        load(path)
