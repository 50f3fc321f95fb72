"""A local stack's clients cannot reach AWS, whatever the user's settings are."""

import os
from pathlib import Path

import pytest

from bedrock_meter.local.endpoint import OPERATOR, Endpoint

URL = "http://127.0.0.1:9"


def test_adopting_a_stack_leaves_nothing_of_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "t",
        "AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.eu-west-1.amazonaws.com",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_ACCESS_KEY_ID": "users",
    }.items():
        monkeypatch.setenv(name, value)
    for name in Endpoint(URL).environment():
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that the test's end restores it
    Endpoint(URL).adopt()
    left = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert left == Endpoint(URL).environment()
    assert (left["AWS_ENDPOINT_URL"], left["AWS_ACCESS_KEY_ID"]) == (URL, OPERATOR)


def test_a_client_takes_nothing_from_the_users_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "config"
    settings.write_text("[default]\nendpoint_url = https://elsewhere.example\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "https://sqs.eu-west-1.amazonaws.com")
    client = Endpoint(URL).client("sqs")
    assert client.meta.endpoint_url == URL
    request = client.generate_presigned_url("list_queues")
    assert request.startswith(URL)
    assert OPERATOR in request
    assert "Security-Token" not in request
