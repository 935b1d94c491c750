"""The JSON Schema of a spec, for editors and other tools; a copy is kept beside this file."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from builder.spec.model import Spec

IDENTIFIER: Final = "urn:kbuild:spec:1"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class _Schema(GenerateJsonSchema):
    """Pydantic's schema without titles made from field names, which say nothing that the names don't."""

    schema_dialect = DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        return made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    made = Spec.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": "kbuild kernel spec",
        # kbuild also reads TOML 1.1; an editor that warns of it keeps specs readable by older tools
        "x-tombi-toml-version": "v1.0.0",
        **made,
    }


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
