"""Files that people write: read as YAML or as the texts that stand there, and one clear line where that fails."""

from pathlib import Path

import pytest

from bedrock_meter.definitions import read_definitions, refuse_unknown_keys
from bedrock_meter.errors import InvalidDefinition


def written(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "plans.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def as_it_is(document: object) -> object:
    return document


def refuse(document: object) -> None:
    raise InvalidDefinition("plans[0].name", f"{document!r} is no name")


def test_yaml_decides_what_a_value_is_unless_values_are_taken_as_written(tmp_path: Path) -> None:
    file = written(tmp_path, "a: 2.70\nb: 0012\nc: yes\nd: [null, é]\n")
    assert read_definitions(file, as_it_is) == {"a": 2.7, "b": 10, "c": True, "d": [None, "é"]}
    texts = {"a": "2.70", "b": "0012", "c": "yes", "d": ["null", "é"]}
    assert read_definitions(file, as_it_is, values_as_written=True) == texts


@pytest.mark.parametrize("values_as_written", [False, True])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: 1\nb: [c\n", "plans.yaml, line 3: is not valid YAML"),
        (b"a: \xff", "plans.yaml: is not UTF-8"),
        ("plans:\n  - {name: gold, max: 1, max: 2}\n", "plans.yaml, line 2: 'max' stands here twice"),
        ("a: 1\nb: 2\na: 3\n", "plans.yaml, line 3: 'a' stands here twice"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(
    tmp_path: Path, content: str | bytes, complaint: str, values_as_written: bool
) -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        read_definitions(written(tmp_path, content), as_it_is, values_as_written=values_as_written)
    assert str(refusal.value) == f"{tmp_path}/{complaint}"


def test_a_day_that_no_calendar_has_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match=r"plans\.yaml: is not valid YAML"):
        read_definitions(written(tmp_path, "a: 2026-13-45\n"), as_it_is)


def test_a_tag_runs_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InvalidDefinition, match="line 1: is not valid YAML"):
        read_definitions(file, as_it_is)
    assert read_definitions(file, as_it_is, values_as_written=True) == {"a": []}


def test_a_file_that_cannot_be_read_is_said_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match=r"none\.yaml: cannot be read: No such file"):
        read_definitions(tmp_path / "none.yaml", as_it_is)
    with pytest.raises(InvalidDefinition, match="cannot be read: Is a directory"):
        read_definitions(tmp_path, as_it_is)


def test_a_complaint_about_a_value_begins_with_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "x")
    with pytest.raises(InvalidDefinition) as refusal:
        read_definitions(file, refuse)
    assert str(refusal.value) == f"{file}.plans[0].name: 'x' is no name"


def test_an_unknown_key_is_named_with_those_that_are_read() -> None:
    refuse_unknown_keys("plans[0]", {"name": "gold"}, ("name", "limits"))
    with pytest.raises(InvalidDefinition, match=r"plans\[0\]: unknown key 'limit'; known are name, limits"):
        refuse_unknown_keys("plans[0]", {"name": "gold", "limit": []}, ("name", "limits"))
