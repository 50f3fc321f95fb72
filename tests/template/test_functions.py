"""The functions as the template runs them: platform, code, layers, and the settings that their code reads."""

import ast
from pathlib import Path

import pytest

from bedrock_meter.invocations.doubt import SETTINGS as BELIEFS
from layers import build
from tests.template.expanding import expanded_resources
from tests.template.reading import FUNCTIONS, environment, load_template, properties, resources

ROOT = Path(__file__).resolve().parents[2]
IDS = Path(__file__).with_name("logical_ids.txt")


def test_every_function_is_in_this_list() -> None:
    assert set(resources("AWS::Serverless::Function")) == set(FUNCTIONS)
    folders = {path.name for path in (ROOT / "functions").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(FUNCTIONS.values())


def test_platform_is_what_the_layers_are_built_for() -> None:
    shared = load_template()["Globals"]["Function"]
    runtime = f"python{'.'.join(map(str, build.LAMBDA_PYTHON))}"
    assert (shared["Runtime"], shared["Architectures"]) == (runtime, ["arm64"])
    assert all("aarch64" in platform for platform in build.LAMBDA_PLATFORMS)
    for layer in resources("AWS::Serverless::LayerVersion").values():
        assert layer["Properties"]["CompatibleRuntimes"] == [runtime]
        assert (
            layer["Properties"]["CompatibleArchitectures"]
            == layer["Metadata"]["BuildArchitecture"].split()
            == ["arm64"]
        )


@pytest.mark.parametrize(("function", "folder"), FUNCTIONS.items())
def test_function_is_one_handler_and_the_two_layers(function: str, folder: str) -> None:
    assert properties(function)["CodeUri"] == f"functions/{folder}"
    # A requirements.txt here would make SAM look for Lambda's own Python on the building machine.
    files = [path.name for path in (ROOT / "functions" / folder).iterdir() if path.name != "__pycache__"]
    assert files == ["handler.py"]
    deployed = expanded_resources()[function]["Properties"]
    assert deployed["Handler"] == "handler.handler"
    assert len(deployed["Layers"]) == 2


def settings_read(folder: str) -> set[str]:
    """Environment variables that a handler asks for by name."""
    tree = ast.parse((ROOT / "functions" / folder / "handler.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    named = [call for call in calls if getattr(call.func, "id", "") in {"optional", "required", "required_days_ms"}]
    believes = any(ast.unparse(node) == "Origins.configured(required)" for node in ast.walk(tree))
    return {str(ast.literal_eval(call.args[0])) for call in named} | (set(BELIEFS) if believes else set())


@pytest.mark.parametrize(("function", "folder"), FUNCTIONS.items())
def test_function_is_given_the_settings_that_it_reads_and_no_others(function: str, folder: str) -> None:
    read = settings_read(folder)
    assert read
    given = set(environment(function))
    assert read <= given
    own = {name for name in given if not name.startswith("POWERTOOLS_") and not name.endswith("_TABLE")}
    assert own == {name for name in read if not name.endswith("_TABLE")}


def test_every_function_that_records_doubts_what_others_may_have_written() -> None:
    for function, folder in FUNCTIONS.items():
        source = (ROOT / "functions" / folder / "handler.py").read_text(encoding="utf-8")
        assert ("bedrock_meter.usage.wiring" in source) is (set(BELIEFS) <= settings_read(folder)), folder
        if set(BELIEFS) <= settings_read(folder):
            given = environment(function)
            assert "${AWS::AccountId}" in given["LOG_ACCOUNTS"]["Fn::Sub"]
            assert "${AWS::Region}" in given["LOG_REGIONS"]["Fn::Sub"]


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_function_knows_who_it_is_in_logs_and_metrics(function: str) -> None:
    found = environment(function)
    assert found["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}
    assert found["POWERTOOLS_METRICS_NAMESPACE"] == "BedrockMeter"
    assert found["POWERTOOLS_LOG_LEVEL"] == {"Ref": "LogLevel"}


def test_logical_ids_are_stable() -> None:
    """A renamed resource is a deleted one and a new one.

    If this fails because something was added on purpose, add its line. A line that goes, or changes its type, takes
    data or ten minutes of records with it: say in the change log what an upgrade loses.
    """
    layers = set(resources("AWS::Serverless::LayerVersion"))
    every = {name: one["Type"] for name, one in expanded_resources().items()}
    # SAM adds a hash of the content to the id of a layer.
    own = {name: kind for name, kind in every.items() if kind != "AWS::Lambda::LayerVersion"}
    own |= dict.fromkeys(layers, "AWS::Lambda::LayerVersion")
    assert "\n".join(f"{name} {kind}" for name, kind in sorted(own.items())) == IDS.read_text(encoding="utf-8").strip()


def test_outputs_stay() -> None:
    """The command and other people's stacks read them by name."""
    assert set(load_template()["Outputs"]) == {
        "AdminApiFunction",
        "AdminApiId",
        "AdminApiUrl",
        "AlertTopicArn",
        "ConsumerQueueUrl",
        "EvaluateQuotasFunction",
        "EventBus",
        "FailureBucket",
        "InvocationLogGroup",
        "InvocationLoggingRoleArn",
        "LedgerTable",
        "QuotaApiFunction",
        "QuotaApiId",
        "QuotaApiUrl",
        "QuotasTable",
        "RecordUsageFunction",
        "RedriveFailuresFunction",
        "ReportApiFunction",
        "SweepFunction",
        "SyncProfilesFunction",
        "TenantsTable",
        "TokenApiUrl",
        "UsageTable",
    }


def test_stack_can_be_deployed_without_a_question() -> None:
    assert all("Default" in parameter for parameter in load_template()["Parameters"].values())
