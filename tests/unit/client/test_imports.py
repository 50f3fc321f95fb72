"""The base install needs botocore only."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import importlib.abc, sys

ALLOWED = {"bedrock_meter", "botocore", "dateutil", "jmespath", "six", "urllib3"}
BUILT_IN = set(sys.stdlib_module_names)

class OnlyBotocore(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # six makes modules of its own names; the rest of what is installed is not there.
        if top not in ALLOWED | BUILT_IN and not top.startswith("_"):
            raise ModuleNotFoundError(f"{name} is not in the base install", name=name)

sys.meta_path.insert(0, OnlyBotocore())
import bedrock_meter.client as client
from botocore.credentials import Credentials

guard = client.TenantGuard(client.HttpTransport("http://127.0.0.1:9", region="x", credentials=Credentials("a", "b")))
from botocore.session import Session
bedrock = guard.wrap(
    Session().create_client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
        endpoint_url="http://127.0.0.1:9",
    ),
    tenant="acme",
)
try:
    bedrock.converse(modelId="x.y", messages=[{"role": "user", "content": [{"text": "hello"}]}])
except Exception as error:
    print(type(error).__name__)
try:
    import msgspec
except ModuleNotFoundError as error:
    print(error)
heavy = {"boto3", "msgspec", "pynamodb", "aws_lambda_powertools"}
print(sorted({name.partition(".")[0] for name in sys.modules} & heavy))
print(sorted(name for name in sys.modules if name.startswith("bedrock_meter.") and name.split(".")[1] not in (
    "client", "clock", "errors", "money", "invocations")))
"""


def test_the_client_works_where_only_botocore_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "layers" / "bedrock_meter"), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    # The quota API is not there: the call goes on (fail=open) and ends where there is no Bedrock either.
    assert done.stdout.splitlines() == [
        "EndpointConnectionError",
        "msgspec is not in the base install",
        "[]",
        "[]",
    ], done.stderr
