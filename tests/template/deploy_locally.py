"""Runs the real `make deploy` against a local stack, twice, then deletes the stack.

``python -m tests.template.deploy_locally``; part of `make check` and not of the test suite, because it needs SAM. What
it shows: the template that was built can be deployed with the committed settings; the same build deployed twice changes
nothing; the tables survive the stack.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.project import find_project
from bedrock_meter.local.server import serving
from tests.template.reading import FUNCTIONS, load_template

ROOT = Path(__file__).resolve().parents[2]
STACK = "bedrock-meter-local"
SWITCHED_ON = {"TakesTokens"}
"""Conditions of outputs that hold only if a parameter is given."""


class DeploymentFailed(Exception):
    """The deployment did not do what it should; the message says what."""


def expect(is_so: bool, otherwise: str) -> None:
    """Fail loudly: nothing here may be skipped."""
    if not is_so:
        raise DeploymentFailed(otherwise)


def deploy(endpoint: Endpoint) -> None:
    """`make deploy CONFIG=local` as a person types it, with the local stack's credentials and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, **endpoint.environment(), "CI": "true"}
    done = subprocess.run(["make", "deploy", "CONFIG=local"], check=False, cwd=ROOT, env=environment)
    expect(done.returncode == 0, f"make deploy ended with {done.returncode}")


def outputs(cloudformation: Any) -> dict[str, str]:
    """What the stack says about itself."""
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def functions(client: Any) -> dict[str, Any]:
    """Configuration of every deployed function, without what changes by itself."""
    found = client.list_functions()["Functions"]
    wanted = ("Runtime", "Architectures", "Handler", "Layers", "Environment", "Timeout", "CodeSha256", "Role")
    return {function["FunctionName"]: {name: function.get(name) for name in wanted} for function in found}


def check_outputs(found: dict[str, str]) -> None:
    """Every output is there and says something, but those of what only a parameter switches on; none was given."""
    declared = load_template()["Outputs"]
    wanted = {name for name, output in declared.items() if output.get("Condition") not in SWITCHED_ON}
    expect(set(found) == wanted, f"outputs differ from the template's: {sorted(set(found) ^ wanted)}")
    expect(all(found.values()), f"empty outputs: {[name for name, value in found.items() if not value]}")


def check_functions(found: dict[str, Any]) -> None:
    """Every function that no parameter switches on, each with both layers, for Lambda's platform."""
    resources = load_template()["Resources"]
    wanted = len([name for name in FUNCTIONS if "Condition" not in resources[name]])
    expect(len(found) == wanted, f"not {wanted} functions: {sorted(found)}")
    for name, function in found.items():
        platform = (function["Runtime"], function["Architectures"], function["Handler"])
        expect(platform == ("python3.13", ["arm64"], "handler.handler"), f"{name} runs as {platform}")
        expect(len(function["Layers"]) == 2, f"{name} has the layers {function['Layers']}")


def main() -> int:
    """Deploy, deploy again, delete."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with serving(find_project().stack_python(), scratch / "stack.log", scratch / "stack") as (endpoint, _):
            cloudformation, lambdas, tables = (
                endpoint.client(service) for service in ("cloudformation", "lambda", "dynamodb")
            )
            deploy(endpoint)
            first = outputs(cloudformation)
            check_outputs(first)
            deployed = functions(lambdas)
            check_functions(deployed)
            deploy(endpoint)
            expect(outputs(cloudformation) == first, "a second deployment of the same build changed the outputs")
            expect(functions(lambdas) == deployed, "a second deployment of the same build changed a function")
            cloudformation.delete_stack(StackName=STACK)
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
            expect(not functions(lambdas), "functions outlive the stack")
            kept = set(tables.list_tables()["TableNames"])
            retained = {first[name] for name in ("LedgerTable", "UsageTable", "QuotasTable", "TenantsTable")}
            expect(retained <= kept, f"tables were deleted with the stack: {sorted(retained - kept)}")
    print(f"deployed twice, {len(first)} outputs, {len(deployed)} functions; the tables outlived the stack")
    return 0


if __name__ == "__main__":
    sys.exit(main())
