"""The JSON Schema beside the model is the model's, and says yes and no where the model does."""

import json

import jsonschema
import pytest
import tomli
from spec_samples import FULL, MINIMAL

from builder.resources import shipped
from builder.spec import schema as module
from builder.spec.model import Spec
from builder.spec.schema import schema, schema_text


def errors(text):
    return [error.json_path for error in jsonschema.Draft202012Validator(schema()).iter_errors(tomli.loads(text))]


def test_the_file_is_what_the_model_gives():
    path = shipped("kernels").parent / "builder" / "spec" / "schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), "run: kbuild schema > builder/spec/schema.json"
    assert json.loads(schema_text()) == schema()


def test_it_is_a_schema_with_a_name():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == module.DIALECT
    assert schema()["$id"].startswith("urn:kbuild:")
    assert schema()["x-tombi-toml-version"]


def test_everything_is_described():
    definitions = schema()["$defs"]
    for name, table in definitions.items():
        assert table.get("description"), name
        for key, value in table["properties"].items():
            assert value.get("description"), f"{name}.{key}"
    for key, value in schema()["properties"].items():
        assert value.get("description") or "$ref" in value, key
    assert set(schema()["properties"]) == {field.alias or name for name, field in Spec.model_fields.items()}


@pytest.mark.parametrize("text", [MINIMAL, FULL])
def test_good_specs(text):
    assert errors(text) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("schema = 1", "schema = 2", "$.schema"),
        ('name = "tiny"', 'name = "Tiny"', "$.kernel.name"),
        ('name = "tiny"', "name = 1", "$.kernel.name"),
        ("entry =", "entyr =", "$.kernel"),
        ("[inputs.x]", '[inputs."x y"]', "$.inputs"),
        ('"float32"', '"float31"', "$.inputs.x.dtype"),
        ('["batch", 4]', '["batch", 0]', "$.inputs.x.shape[1]"),
        ("[inputs.x]", "[pyhton]\n[inputs.x]", "$"),
        ("[inputs.x]", '[os]\npackages = ["a1", "a1"]\n[inputs.x]', "$.os.packages"),
        ("[inputs.x]", "[determinism]\nseed = -1\n[inputs.x]", "$.determinism.seed"),
        ("[inputs.x]", "[xla]\nflags = {cpu = true}\n[inputs.x]", "$.xla.flags"),
        ("[inputs.x]", "[native.op]\nsources = []\n[inputs.x]", "$.native.op.sources"),
    ],
)
def test_bad_specs(old, new, path):
    assert path in errors(MINIMAL.replace(old, new, 1))
