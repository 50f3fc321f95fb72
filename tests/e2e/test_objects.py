"""The log's copy in S3, on the deployed template: an object arrives and the same calls count once."""

import gzip
import json
import time
from pathlib import Path

from bedrock_meter.clock import now_ms
from bedrock_meter.local.deployment import PARAMETERS, deploy
from bedrock_meter.local.packaging import build_layers
from bedrock_meter.local.project import Project
from bedrock_meter.local.server import serving
from bedrock_meter.storage.dynamodb import get_number
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of

BUCKET = "bedrock-logs"
KEY = "AWSLogs/123456789012/BedrockModelInvocationLogs/us-east-1/2026/11/24/04/20261124T040000000Z_{name}.json.gz"
RECORDS = 50
PATIENCE_S = 120
LAST_WORDS = 4_000


def test_an_object_of_the_log_is_recorded_once_by_the_deployed_function(project: Project, tmp_path: Path) -> None:
    build_layers(project, project.stack_python())
    log = tmp_path / "stack.log"
    with serving(project.stack_python(), log, tmp_path / "scratch") as (endpoint, _):
        s3 = endpoint.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        outputs = deploy(endpoint, project, {**PARAMETERS, "InvocationLogBucketName": BUCKET}).outputs
        dynamodb = endpoint.client("dynamodb")

        def recorded() -> int:
            rows = dynamodb.scan(TableName=outputs["UsageTable"], ConsistentRead=True)["Items"]
            return sum(get_number(row, "requests") for row in rows)

        def put(name: str, calls: int) -> None:
            lines = "\n".join(
                json.dumps(record_of(invocation(f"r{number}", event_ms=at_ms))) for number in range(calls)
            )
            s3.put_object(Bucket=BUCKET, Key=KEY.format(name=name), Body=gzip.compress(lines.encode()))
            deadline = time.monotonic() + PATIENCE_S
            while recorded() < calls and time.monotonic() < deadline:
                time.sleep(0.2)
            assert recorded() == calls, f"the local stack said:\n{log.read_text()[-LAST_WORDS:]}"

        at_ms = now_ms()
        put("first", RECORDS)
        put("again-and-one-more", RECORDS + 1)
