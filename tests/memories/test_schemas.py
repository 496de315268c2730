from datetime import date

import jsonschema
import pytest
from pydantic import BaseModel, ConfigDict, Field

from langmem_dspy.errors import InputError
from langmem_dspy.memories.schemas import (
    Memory,
    Schemas,
    as_text,
    described,
    document_of,
    merged,
    text_field,
    validated,
)

PREFERENCE = {
    "title": "UserPreference",
    "type": "object",
    "description": "User preferences",
    "properties": {
        "preference": {"type": "string", "minLength": 2},
        "category": {"type": "string", "enum": ["ui", "food"]},
        "weight": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": True},
        "nested": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "maybe": {"type": ["string", "null"]},
    },
    "required": ["preference"],
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
}


def preference():
    return Schemas(PREFERENCE)["UserPreference"]


def test_no_schema_is_plain_text():
    assert dict(Schemas()) == dict(Schemas(str)) == dict(Schemas([])) == {"Memory": Memory}


def test_a_json_schema_becomes_a_model_that_validates_as_the_schema_does():
    model = preference()
    good = {"preference": "dark mode", "category": "ui", "tags": ["a", "b"], "nested": {"x": 1}, "maybe": None}
    content = validated(model, good)
    assert content.preference == "dark mode" and content.weight == 0.5
    assert document_of(content) == good
    bad = [
        {},
        {"preference": "d"},
        {"preference": "dark", "category": "music"},
        {"preference": "dark", "weight": 2},
        {"preference": "dark", "tags": ["A"]},
        {"preference": "dark", "tags": ["a", "a"]},
        {"preference": "dark", "nested": {}},
        {"preference": 5},
    ]
    for document in bad:
        assert not jsonschema.Draft202012Validator(PREFERENCE).is_valid(document)
        with pytest.raises(InputError):
            validated(model, document)


def test_numbers_written_as_text_are_taken_for_numbers():
    assert validated(preference(), {"preference": "dark", "weight": "0.25"}).weight == 0.25


def test_the_form_of_function_tools_is_read():
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "save_place", "parameters": parameters}}
    assert list(Schemas([tool])) == ["save_place"]


def test_field_names_python_has_no_word_for_are_kept():
    odd = {"title": "Odd", "type": "object", "properties": {"two words": {"type": "string"}, "copy": {}}}
    model = Schemas(odd)["Odd"]
    assert document_of(validated(model, {"two words": "x", "copy": 1})) == {"two words": "x", "copy": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"title": "A", "type": "string"},
        {"title": "A", "type": "object", "properties": {"x": {"type": "strange"}}},
        {"title": "A", "type": "object", "properties": {"x": {"$ref": "https://example.com/schema.json"}}},
        {"title": "A", "type": "object"},
        {"title": "A", "properties": 5},
    ],
)
def test_a_schema_that_cannot_be_one_is_refused(schema):
    with pytest.raises(InputError, match="A"):
        Schemas(schema)


def test_schemas_of_the_same_name_are_refused():
    with pytest.raises(InputError, match="different names"):
        Schemas([Memory, {"title": "Memory", "type": "object", "properties": {"x": {}}}])


def test_updates_merge_objects_and_null_never_erases():
    document = {"a": 1, "b": {"x": 1, "y": 2}, "c": [1, 2]}
    assert merged(document, {"a": None, "b": {"y": 3, "z": None}, "c": [3], "d": 4}) == {
        "a": 1,
        "b": {"x": 1, "y": 3},
        "c": [3],
        "d": 4,
    }
    assert document["b"] == {"x": 1, "y": 2}


def test_strict_and_aliased_models_make_the_round_trip():
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        when: date
        by: tuple[int, int] = Field(alias="from")

    document = {"when": "2024-05-01", "from": [1, 2]}
    assert document_of(validated(Strict, document)) == document


def test_one_text_field_is_written_bare():
    class Note(BaseModel):
        text: str

    assert text_field(Note) == "text" and text_field(Memory) == "content"
    assert as_text(Note(text="hello")) == "hello"
    assert text_field(preference()) is None


def test_a_prompt_shows_every_schema_on_one_line():
    shown = described(Schemas([Memory, PREFERENCE])).splitlines()
    assert len(shown) == 2
    assert shown[0].startswith("Memory: A fact") and shown[1].startswith("UserPreference: User preferences JSON object")
    assert '"title"' not in shown[1] and '"enum":["ui","food"]' in shown[1]
