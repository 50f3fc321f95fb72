"""Tables on stdout: every column of every row, values as they are, and the same width whoever runs it."""

import sys

import pytest

from bedrock_meter.cli.terminal import console, print_table


def test_columns_are_all_keys_and_values_are_no_marks(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"tenant": "[bold]acme[/]", "plan": None}, {"tenant": "globex", "note": 3}], "2 tenants [sic]")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert rows == [["tenant", "plan", "note"], ["[bold]acme[/]"], ["globex", "3"], ["2", "tenants", "[sic]"]]


def test_an_identifier_is_shown_whole_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On several lines: an ARN of which the end is missing names nothing."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1c3m5e7k9q2"
    print_table([{"arn": arn, "model": "anthropic.claude-sonnet-4-6"}], "1 profile")
    said = capsys.readouterr().out
    assert "…" not in said
    columns = [(line[:20].strip(), line[20:].strip()) for line in said.splitlines()[3:-2]]
    assert "".join(part for pair in zip(*columns, strict=True) for part in pair) == f"{arn}anthropic.claude-sonnet-4-6"


def test_without_rows_there_is_the_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], "0 tenants")
    assert capsys.readouterr().out == "0 tenants\n"


def test_without_a_terminal_the_width_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert console().width == 140
    assert console(200).width == 200
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert console(200).width == 77
