"""Files of tenants: read whole, and each complaint names its line."""

from pathlib import Path

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.batch import Line, load_batch, parse_limit_words
from bedrock_meter.tenants.profiles import source_of_model
from tests.doubles.records import ACCOUNT, REGION, limit
from tests.doubles.tenants import HAIKU, HAIKU_ID, SONNET, SONNET_ID


def source_of(model: str) -> str:
    return source_of_model(model, partition="aws", region=REGION, account=ACCOUNT)


def load(tmp_path: Path, content: str, name: str = "tenants.csv") -> tuple[Line, ...]:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    return load_batch(file, source_of)


LIMITS = "meter=total_tokens,window=1h,max=1000;meter=requests,window=day,max=5"
CSV = f"""\
id,name,timezone,plan,models,copy_from,limits
acme,"Acme, Limited",Europe/Berlin,gold,{HAIKU_ID};us.{SONNET_ID},,"{LIMITS}"

globex,,,,{SONNET_ID},{SONNET},
initech,"two
lines",,,,,
"""

YAML = f"""\
tenants:
  - id: acme
    name: Acme, Limited
    timezone: Europe/Berlin
    plan: gold
    models: [{HAIKU_ID}, us.{SONNET_ID}]
    limits: [{{meter: total_tokens, window: 1h, max: 1000}}, "meter=requests,window=day,max=5"]
  - {{id: globex, models: {SONNET_ID}, copy_from: ["{SONNET}"]}}
"""


def test_csv_and_yaml_say_the_same(tmp_path: Path) -> None:
    from_csv = load(tmp_path, "\ufeff" + CSV.replace('"two\nlines"', ""))
    from_yaml = load(tmp_path, YAML, "tenants.yml")
    assert [line.wanted for line in from_csv[:2]] == [line.wanted for line in from_yaml]
    assert [line.number for line in from_csv] == [2, 4, 5]
    assert [line.number for line in from_yaml] == [2, 8]
    acme, globex = (line.wanted for line in from_yaml)
    assert acme.sources == (HAIKU, SONNET)
    assert (acme.name, acme.timezone, acme.plan, acme.models) == ("Acme, Limited", "Europe/Berlin", "gold", ())
    assert acme.limits is not None
    assert [one.name for one in acme.limits] == ["total_tokens-1h", "requests-day"]
    assert "Europe/Berlin" in repr(acme.limits[1].window)
    assert (globex.sources, globex.models, globex.limits) == ((SONNET,), (SONNET_ID,), None)


def test_every_wrong_line_is_named_and_nothing_is_returned(tmp_path: Path) -> None:
    lines = [
        "id,models,limits",
        "acme,,",
        "a b,,",
        "acme,,",
        f"c,{HAIKU_ID};{HAIKU_ID},",
        "d,not a model,",
        "e,,meter=tokens",
        'f,,"meter=total_tokens,window=1h,max=-5"',
        "g,,,and more",
        "=cmd(),,",
    ]
    with pytest.raises(InvalidDefinition) as found:
        load(tmp_path, "\n".join(lines))
    said = str(found.value)
    for words in (
        "line 3: id: 'a b' is not a tenant id",
        "line 4: id: acme stands on line 2 already",
        "line 5: models: arn:aws:bedrock",
        "line 6: models: 'not a model' is no id of a model",
        "line 7: limits[0]",
        "line 8: limits[0]",
        "line 9: unknown column 'after limits'",
        "line 10: id: '=cmd()' is not a tenant id",
    ):
        assert words in said, words
    assert "line 2:" not in said


def test_many_wrong_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match=r"line 21: .*; and 80 more"):
        load(tmp_path, "id\n" + "a b\n" * 100)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no tenant: write a header"),
        ("id,models\n", "holds no tenant"),
        ("tenant,models\nacme,\n", "line 1: must be a header with id"),
        ("id,id\nacme,x\n", "line 1: must be a header with id"),
        ('id\n"acme', "line 2: is not CSV"),
        ("id\nacme\x00\n", "acme"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidDefinition, match=complaint):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("tenants: [", "line 2?.*is not valid YAML"),
        ("tenants:\n  - id: acme\n    plan: a\n    plan: b", "line 4: 'plan' stands here twice"),
        ("tenants:\n  - id: acme\n    plan: 2026-13-45", "is not valid YAML"),
        ("tenants: {}", "must be a mapping with one list 'tenants'"),
        ("tenants: []\nmore: 1", "must be a mapping with one list 'tenants'"),
        ("- acme", "must be a mapping with one list 'tenants'"),
        ("tenants:\n  - id: acme\n  - 7", "line 3: id: 7 is not a tenant id"),
        ("tenants:\n  - id: acme\n    plan: 7", "line 2: plan: 7 must be text"),
        ("tenants:\n  - id: acme\n    models: [7]", "line 2: models: must be a list of texts"),
        ("tenants:\n  - !!python/object:os.system {}", "is not valid YAML"),
        ("tenants:\n  - id: acme\n    profiles: [x]", "line 2: unknown column 'profiles'"),
    ],
)
def test_yaml_that_is_none(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidDefinition, match=complaint):
        load(tmp_path, content, "tenants.yaml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match="cannot be read: No such file"):
        load_batch(tmp_path / "none.csv", source_of)
    (tmp_path / "latin.csv").write_bytes("id,name\nacme,Müller".encode("latin-1"))
    with pytest.raises(InvalidDefinition, match="is not UTF-8 text"):
        load_batch(tmp_path / "latin.csv", source_of)


def test_a_limit_in_words() -> None:
    words = "meter=total_tokens, window=1h,max=1k,hard=true,thresholds=80+100,name=mine"
    assert parse_limit_words(words, "UTC", "x") == limit("1h", 1000, hard=True, thresholds=(80, 100), name="mine")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("meter", "'meter' is not name=value"),
        ("meter=requests,meter=requests", "meter is given twice"),
        ("meter=requests,window=1h,max=5,hard=yes", "hard=yes: write hard=true or hard=false"),
        ("meter=requests,window=1h,max=5,thresholds=50+x", "'x' is not a whole number"),
        ("meter=requests,window=1h", "max"),
    ],
)
def test_a_limit_in_wrong_words(words: str, complaint: str) -> None:
    with pytest.raises(InvalidDefinition, match=complaint.replace("+", r"\+")):
        parse_limit_words(words, "UTC", "--limit")
