import pytest

from nern_core.contract.errors import NernError
from nern_mlflow.references import (
    AliasReference,
    LoggedModelReference,
    Reference,
    RunReference,
    StageReference,
    VersionReference,
    is_reference,
    parse_reference,
)

REFERENCES: list[tuple[str, Reference]] = [
    ("models:/digits/3", VersionReference("digits", "3")),
    ("models:/my model/12/data/model.safetensors", VersionReference("my model", "12", "data/model.safetensors")),
    ("models:/digits@champion", AliasReference("digits", "champion")),
    ("models:/digits@champion/model.pt", AliasReference("digits", "champion", "model.pt")),
    ("models:/digits/latest", StageReference("digits", "latest")),
    ("models:/digits/Production/model.pt", StageReference("digits", "Production", "model.pt")),
    ("models:/m-0123456789abcdef", LoggedModelReference("m-0123456789abcdef")),
    (
        "models:/m-0123456789abcdef/extra_files/model.pt",
        LoggedModelReference("m-0123456789abcdef", "extra_files/model.pt"),
    ),
    ("models:/m-0123456789abcdef/2", VersionReference("m-0123456789abcdef", "2")),
    ("runs:/0123456789abcdef/checkpoint", RunReference("0123456789abcdef", "checkpoint")),
    ("runs:/0123456789abcdef", RunReference("0123456789abcdef")),
]


@pytest.mark.parametrize(("text", "reference"), REFERENCES, ids=[text for text, _ in REFERENCES])
def test_models_and_runs_are_named_as_in_mlflow(text: str, reference: Reference) -> None:
    assert is_reference(text)
    assert parse_reference(text) == reference
    assert str(reference) == text


def test_a_slash_at_the_end_means_nothing() -> None:
    assert parse_reference("models:/digits/3/") == VersionReference("digits", "3")


def test_an_alias_becomes_a_version() -> None:
    assert AliasReference("digits", "champion", "a/b").of_version("7") == VersionReference("digits", "7", "a/b")


def test_the_newest_version_is_of_all_or_of_a_stage() -> None:
    assert StageReference("digits", "Latest").stages == []
    assert StageReference("digits", "production").stages == ["Production"]
    assert StageReference("digits", "latest", "a/b").of_version("7") == VersionReference("digits", "7", "a/b")


@pytest.mark.parametrize(
    "text",
    [
        "models:/digits",
        "models:/digits/newest",
        "models:/digits/0",
        "models://profile@databricks/digits/1",
        "models:/digits/1/../../2",
        "models:/digits/1/a//b",
        "models:/digits/1/a\\b",
        "models:/digits/1\n",
        "runs:/",
        "runs:/abc/../def",
        "models:/digits/1/" + "x" * 1000,
    ],
)
def test_what_names_nothing_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(NernError) as refused:
        parse_reference(text)
    assert refused.value.code == "invalid_reference"


def test_addresses_of_the_web_are_no_references() -> None:
    assert not is_reference("https://models/digits/1")
