"""Positions: by hand for each form, then every key of random documents."""

import math

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.spec.spans import Spans, level

DOCUMENT = """\
schema = 1 # one
[kernel]
name = "x"
os.release = "trixie"
  [inputs . "a b"]
  shape = ["n", [1, {y = 2}]]
[xla]
flags = { xla_a = true, xla_b.c = 3 }
text = '''
[no] = 1
'''
after = -inf
[[arr]]
v = 1
[[arr.sub]]
w = 2
[[arr]]
v = 3
[arr.t]
u = 1979-05-27 07:32:00Z
"""


@pytest.mark.parametrize(
    ("loc", "line", "key", "value"),
    [
        (("schema",), 1, "schema", "1"),
        (("kernel",), 2, "kernel", "kernel"),
        (("kernel", "name"), 3, "name", '"x"'),
        (("kernel", "os"), 4, "os", "os"),
        (("kernel", "os", "release"), 4, "release", '"trixie"'),
        (("inputs",), 5, "inputs", "inputs"),
        (("inputs", "a b"), 5, '"a b"', '"a b"'),
        (("inputs", "a b", "shape"), 6, "shape", '["n", [1, {y = 2}]]'),
        (("inputs", "a b", "shape", 0), 6, '"n"', '"n"'),
        (("inputs", "a b", "shape", 1, 1, "y"), 6, "y", "2"),
        (("xla", "flags", "xla_a"), 8, "xla_a", "true"),
        (("xla", "flags", "xla_b", "c"), 8, "c", "3"),
        (("xla", "text"), 9, "text", "'''"),
        (("xla", "after"), 12, "after", "-inf"),
        (("arr", 0, "v"), 14, "v", "1"),
        (("arr", 0, "sub", 0, "w"), 16, "w", "2"),
        (("arr", 1, "v"), 18, "v", "3"),
        (("arr", 1, "t", "u"), 20, "u", "1979-05-27 07:32:00Z"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_forms(loc, line, key, value, end):
    spans = Spans(DOCUMENT.replace("\n", end))
    assert spans.key(loc).line == spans.value(loc).line == line
    assert spans.text(spans.key(loc)) == key
    assert spans.text(spans.value(loc)) == value


def test_what_is_not_there():
    spans = Spans(DOCUMENT)
    assert spans.key(()) is None
    assert spans.key(("nope",)) is None
    assert spans.value(("schema", "below")) is None
    assert spans.value(("inputs", "a b", "shape", 9)) is None


def test_a_table_defined_after_its_own_subtable():
    assert Spans("[a.b]\n[a]\n").key(("a",)).line == 2


@pytest.mark.parametrize(
    "text",
    [
        "a = {\n  x = 1, # c }\n  y = [1,\n 2, ],\n}\nb = 3\n",
        'a = "\\e[0m \\x41"\nb = 3\n',
        "a = 10:20\nb = 3\n",
        "a = 1979-05-27 07:32\nb = 3\n",
        'a = """x\\\n  y\\""""" # "\nb = 3\n',
        "a = '''x'''''\nb = 3\n",
        "a = {b = {c = 1,},}\nb = 3\n",
        'a = { "\\x41" = "}" , }\nb = 3\n',
    ],
)
def test_toml_1_1(text):
    assert len(level(text.encode())) == len(text.encode())
    spans = Spans(text)
    assert spans.text(spans.key(("b",))) == "b"
    assert spans.text(spans.value(("b",))) == "3"
    for loc, value in walk(tomli.loads(text)):
        assert spans.value(loc) is not None, (loc, value)


def test_columns_count_characters():
    spans = Spans('"世界é" = { "𝄞" = 1, z = 2 }\n')
    assert spans.value(("世界é", "z")).column == 24
    assert spans.text(spans.value(("世界é", "z"))) == "2"


def test_depth_is_bounded():
    spans = Spans("a = " + "[" * 350 + "]" * 350)
    assert spans.value(("a",) + (0,) * 20) is not None
    assert spans.value(("a",) + (0,) * 300) is None
    assert Spans("a" + ".a" * 5000 + " = 1").key(("a", "a")) is not None


def walk(data, loc=()):
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*loc, key), value
        yield from walk(value, (*loc, key))


# A random document is written by this small writer, which uses every form that TOML has for one meaning.

keys = st.text(alphabet="ab_-1", min_size=1, max_size=3) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), max_size=4
)
scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.dates()
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.times().map(lambda time: time.replace(fold=0))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
documents = st.dictionaries(keys, values, max_size=5)


def write_string(text, draw):
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    plain = text.isprintable() and "'" not in text
    return draw(st.sampled_from([f'"{escaped}"', *([f"'{text}'"] if plain else [])]))


def write_key(key, draw):
    bare = key and all(c in "ab_-1" for c in key)
    return key if bare and draw(st.booleans()) else write_string(key, draw)


def write_value(value, draw):  # noqa: PLR0911 - one per type
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return "nan" if math.isnan(value) else repr(value)
        case str():
            return _long(value) if draw(st.booleans()) else write_string(value, draw)
        case list():
            gap = draw(st.sampled_from(["", " ", "\n", " # ] }\n"]))
            return "[" + "".join(f"{gap}{write_value(v, draw)}{gap}," for v in value) + gap + "]"
        case dict():
            gap = draw(st.sampled_from(["", " ", "\n", " # ] }\n"]))
            end = draw(st.sampled_from(["", ","])) if value else ""
            pairs = [f"{gap}{write_key(k, draw)} = {write_value(v, draw)}" for k, v in value.items()]
            return "{" + ",".join(pairs) + end + gap + "}"
        case _:
            return value.isoformat()


def _long(text):
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"""\n{escaped}"""'


def same(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def write_table(table, draw, path=()):
    plain, tables = [], []
    for key, value in table.items():
        as_table = isinstance(value, dict) and draw(st.booleans())
        as_tables = (
            isinstance(value, list) and value and all(isinstance(v, dict) for v in value) and draw(st.booleans())
        )
        (tables if as_table or as_tables else plain).append((key, value))
    lines = []
    for key, value in plain:
        if isinstance(value, dict) and len(value) == 1 and draw(st.booleans()):
            ((below, inner),) = value.items()
            lines.append(f"{write_key(key, draw)} . {write_key(below, draw)}={write_value(inner, draw)}")
        else:
            lines.append(
                f"{draw(st.sampled_from(['', '  ']))}{write_key(key, draw)} = {write_value(value, draw)} # x = 1"
            )
    for key, value in tables:
        header = ".".join(write_key(part, draw) for part in (*path, key))
        if isinstance(value, dict):
            lines += [f"[{header}]", *write_table(value, draw, (*path, key))]
        else:
            for element in value:
                lines += [f"[[ {header} ]]", *write_table(element, draw, (*path, key))]
    return lines


@settings(max_examples=150, deadline=None)
@given(documents, st.data())
def test_every_key_of_a_random_document_is_found(document, data):
    text = "\n".join(write_table(document, data.draw)) + "\n"
    parsed = tomli.loads(text)
    assert same(parsed, document)
    spans = Spans(text)
    for loc, value in walk(parsed):
        key, place = spans.key(loc), spans.value(loc)
        assert key is not None, loc
        written = spans.text(key)
        if isinstance(loc[-1], str):
            assert next(iter(tomli.loads(f"{written} = 1"))) == loc[-1]
        if isinstance(value, (bool, int)):
            assert tomli.loads(f"k = {spans.text(place)}")["k"] == value
