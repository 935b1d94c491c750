"""The reference names every table and key, and what it shows works."""

import re
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from builder.spec.load import loads
from builder.spec.model import Spec

TEXT = (Path(__file__).parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def tables():
    for name, field in Spec.model_fields.items():
        inner = field.annotation
        model = next((arg for arg in get_args(inner) if isinstance(arg, type) and issubclass(arg, BaseModel)), inner)
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield name, model, get_origin(inner) is dict


@pytest.mark.parametrize(("name", "model", "many"), list(tables()))
def test_every_table_has_its_section_and_keys(name, model, many):
    heading = f"`[{name}.NAME]`" if many else f"`[{name}]`"
    (section,) = [part for part in re.split(r"(?m)^## ", TEXT) if heading in part.splitlines()[0]]
    for key, field in model.model_fields.items():
        inner = field.annotation
        deeper = inner.model_fields if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        for shown in [f"{key}.{below}" for below in deeper] if deeper else [key]:
            assert f"| `{shown}` |" in section, f"{name}.{shown}"


def test_the_least_spec_loads():
    assert loads(BLOCKS[0], "docs/spec.md").kernel.entry == "model:double"


@pytest.mark.parametrize("block", BLOCKS[1:])
def test_the_other_pieces_fit_into_it(block):
    assert loads(BLOCKS[0] + block, "docs/spec.md")


def test_the_error_is_shown_as_it_looks():
    (shown,) = re.findall(r"```\n(error: .*?)\n```", TEXT, re.DOTALL)
    text = BLOCKS[0].replace("[inputs.x]", "\n[pyhton]\n\n[inputs.x]")
    with pytest.raises(Exception, match="pyhton") as caught:
        loads(text, "spec.toml")
    assert str(caught.value) == shown
