"""What is done to the template before a local stack gets it."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from bedrock_meter.local.concessions import concede
from bedrock_meter.local.failures import LocalStackFailed
from bedrock_meter.local.packaging import load_template, packaged_template, zipped
from bedrock_meter.local.project import Project, find_project

TEMPLATE = """
Conditions:
  Wanted: !Equals [!Ref Name, ""]
Resources:
  Shared: &shared
    Type: AWS::Serverless::Function
    Properties: {CodeUri: functions/one, Role: !GetAtt Role.Arn, Version: "2012-10-17", Day: 2026-11-24}
  Other: *shared
  Layer:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: layers/dependencies, Name: !Sub "${AWS::StackName}-x", Group: !If [Wanted, !Ref A, !Ref B]}
"""


def test_short_forms_become_long_ones_and_dates_stay_text() -> None:
    template = load_template(TEMPLATE)
    assert template["Conditions"]["Wanted"] == {"Fn::Equals": [{"Ref": "Name"}, ""]}
    properties = template["Resources"]["Shared"]["Properties"]
    assert properties["Role"] == {"Fn::GetAtt": ["Role", "Arn"]}
    assert (properties["Version"], properties["Day"]) == ("2012-10-17", "2026-11-24")
    assert template["Resources"]["Layer"]["Properties"]["Group"] == {"Fn::If": ["Wanted", {"Ref": "A"}, {"Ref": "B"}]}


def test_code_becomes_zip_files_and_layers_those_built_for_this_machine(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for name in (
        "functions/one/handler.py",
        "functions/one/__pycache__/handler.pyc",
        ".build/host/dependencies/python/a.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    uploaded: dict[str, list[str]] = {}

    def upload(name: str, content: bytes) -> str:
        uploaded[name] = zipfile.ZipFile(io.BytesIO(content)).namelist()
        return f"s3://b/{name}"

    resources = packaged_template(Project(tmp_path), upload)["Resources"]
    assert uploaded == {"Shared.zip": ["handler.py"], "Other.zip": ["handler.py"], "Layer.zip": ["python/a.pyc"]}
    assert [resources[name]["Properties"]["CodeUri"] for name in ("Shared", "Other")] == [
        "s3://b/Shared.zip",
        "s3://b/Other.zip",
    ]
    assert resources["Layer"]["Properties"]["ContentUri"] == "s3://b/Layer.zip"


def test_byte_code_of_layers_is_kept(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    (tmp_path / "a.py").write_text("x")
    assert zipfile.ZipFile(io.BytesIO(zipped(tmp_path, keep_byte_code=True))).namelist() == [
        "__pycache__/a.pyc",
        "a.py",
    ]
    assert zipfile.ZipFile(io.BytesIO(zipped(tmp_path))).namelist() == ["a.py"]


def test_a_layer_that_was_not_built_is_not_deployed_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "functions/one").mkdir(parents=True)
    (tmp_path / "functions/one/handler.py").write_text("x")
    with pytest.raises(LocalStackFailed, match="dependencies holds no code"):
        packaged_template(Project(tmp_path), lambda name, _: name)


def test_three_concessions_and_no_more() -> None:
    kept = {"Effect": "Allow", "Action": "s3:PutObject", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    tls = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    source = {
        "Effect": "Allow",
        "Action": "events:PutEvents",
        "Condition": {"StringEquals": {"events:source": "x", "y": "z"}},
    }
    only = {"Effect": "Allow", "Action": "events:PutEvents", "Condition": {"StringEquals": {"events:source": "x"}}}
    profiles = {"Effect": "Allow", "Action": ["bedrock:GetInferenceProfile"], "Resource": ["arn:x"]}
    mixed = {"Effect": "Allow", "Action": ["bedrock:GetInferenceProfile", "s3:GetObject"], "Resource": "arn:x"}
    template = {
        "Resources": {
            "Tls": {"Properties": {"PolicyDocument": {"Statement": [tls]}}},
            "Mixed": {"Properties": {"PolicyDocument": {"Statement": [tls, kept]}}},
            "Role": {"Properties": {"Policies": [{"PolicyDocument": {"Statement": [source, only]}}]}},
            "Bedrock": {"Properties": {"PolicyDocument": {"Statement": [profiles, mixed]}}},
        }
    }
    concede(template)
    assert template["Resources"].pop("Bedrock") == {
        "Properties": {"PolicyDocument": {"Statement": [{**profiles, "Resource": "*"}, mixed]}}
    }
    assert template["Resources"] == {
        "Mixed": {"Properties": {"PolicyDocument": {"Statement": [kept]}}},
        "Role": {
            "Properties": {
                "Policies": [
                    {
                        "PolicyDocument": {
                            "Statement": [
                                {
                                    "Effect": "Allow",
                                    "Action": "events:PutEvents",
                                    "Condition": {"StringEquals": {"y": "z"}},
                                },
                                {"Effect": "Allow", "Action": "events:PutEvents"},
                            ]
                        }
                    }
                ]
            }
        },
    }


def test_of_the_real_template_nothing_else_is_lost() -> None:
    text = find_project().template.read_text(encoding="utf-8")
    before, after = load_template(text), load_template(text)
    concede(after)
    assert before["Resources"].keys() - after["Resources"].keys() == {"FailureBucketPolicy"}
    assert "events:source" in json.dumps(before)
    assert "events:source" not in json.dumps(after)
    shorter = {name: json.dumps(value) for name, value in after["Resources"].items()}
    changed = {name for name, value in shorter.items() if value != json.dumps(before["Resources"][name])}
    assert changed == {"EvaluateQuotasRole", "SweepRole", "SyncProfilesRole"}
