"""What a person who mistypes sees: one line, and the right exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_meter.cli import main
from bedrock_meter.errors import ConfigurationError
from bedrock_meter.local.failures import LocalStackFailed, Unaccounted
from bedrock_meter.local.project import STACK_PYTHON_VARIABLE, STATE_VARIABLE
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of

RECORD = json.dumps(record_of(invocation("x")))


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test here may start a stack: there is none to start."""
    monkeypatch.setenv(STACK_PYTHON_VARIABLE, str(tmp_path / "no-python"))
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main.execute([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert not printed.out
    return code, printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["replay"],
        ["replay", "--time", "yesterday", "."],
        ["replay", "--output", "xml", "."],
        ["replay", "--unknown", "."],
        ["replay", "missing.json"],
        ["replay", "--tenants", "missing.yaml", "{records}"],
        ["replay", "--tenants", "{broken}", "{records}"],
        ["replay", "--tenants", "{wrong}", "{records}"],
        ["tenants"],
        ["tenants", "apply"],
        ["tenants", "apply", "missing.yaml"],
        ["tenants", "apply", "{wrong}"],
        ["tenants", "apply", "{tenants}"],
        ["run", "now"],
    ],
)
def test_wrong_arguments_end_in_one_line_and_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    contents = {
        "records": RECORD,
        "broken": "tenants: [",
        "wrong": "tenants: [{id: acme, limits: [{meter: requests, window: 1h}]}]",
        "tenants": "tenants: [{id: acme}]",
    }
    files = {name: tmp_path / name for name in contents}
    for name, content in contents.items():
        files[name].write_text(content)
    code, complaint = outcome(capsys, *(argument.format(**files) for argument in arguments))
    assert (code, complaint.count("\n")) == (2, 1)
    assert complaint.startswith("bedrock-meter: ")


def test_a_missing_local_stack_is_no_fault_of_the_arguments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(RECORD)
    code, complaint = outcome(capsys, "replay", tmp_path / "x.json")
    assert (code, complaint.count("\n")) == (1, 1)
    assert "make run" in complaint


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n[ ]\n",
        b"id,name,timezone\nacme,Acme,UTC\n",
        b"# A file about ModelInvocationLog\n\nand more\n",
        b'{"name": "package", "version": "1.0"}',
        b'[{"schemaType": "Another"}, 17, "a message"]',
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    ],
)
def test_what_holds_no_record_is_no_log_and_is_never_sent(
    content: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    code, complaint = outcome(capsys, "replay", file)
    assert (code, complaint.count("\n")) == (3, 1)
    assert f"{file}: is " in complaint
    assert "no invocation log" in complaint
    assert "nothing was sent" in complaint
    # Beside a log it is the wrong file all the same.
    good = tmp_path / "good.jsonl"
    good.write_text(RECORD)
    assert outcome(capsys, "replay", good, file)[0] == 3


@pytest.mark.parametrize(
    "content",
    [
        RECORD,
        f"a line\n{RECORD}",
        RECORD[:-20],
        "Permissions are correctly set for Amazon Bedrock logs.",
        json.dumps([RECORD]),
    ],
)
def test_a_log_with_damaged_or_strange_lines_is_a_log(
    content: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    assert outcome(capsys, "replay", tmp_path)[0] == 1, "it went on to the stack, which is not there"


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (Unaccounted(["one", "two"]), 3, "bedrock-meter: one\nbedrock-meter: two\n"),
        (LocalStackFailed("no\nluck"), 1, "bedrock-meter: no luck\n"),
        (ConfigurationError("gap"), 1, "bedrock-meter: gap\n"),
        (KeyboardInterrupt(), 130, "bedrock-meter: interrupted\n"),
        (main.Terminated(), 143, "bedrock-meter: terminated\n"),
    ],
)
def test_each_failure_has_its_exit_code(
    failure: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise failure

    monkeypatch.setattr(main, "app", fail)
    assert outcome(capsys, "run") == (code, words)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main.execute([])


@pytest.mark.parametrize("arguments", [["--help"], ["replay", "--help"], ["run", "--help"], ["up", "--help"]])
def test_help_shows_an_example_or_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.execute(arguments) == 0
    shown = capsys.readouterr().out
    assert "Example: bedrock-meter" in shown or all(name in shown for name in ("replay", "run", "up", "tenants"))


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.execute(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bedrock-meter 0.")


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; from bedrock_meter.cli.main import execute; execute(['--help']); "
        "heavy = {'botocore', 'boto3', 'rich', 'yaml', 'msgspec', 'pynamodb'} & set(sys.modules); "
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
