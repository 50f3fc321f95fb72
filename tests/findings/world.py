"""The meter as the world sees it: HTTP in, log records in, JSON out, and the bytes to DynamoDB in between.

The decision: nothing inside the package is named here but its clock. The functions of ``functions/`` run as they are,
with the tables of ``template.yaml``; what they send over the wire is answered by the DynamoDB double of
``tests/faults``. So one test says the same of two versions of the code, whatever moved between them.
"""

import base64
import gzip
import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bedrock_meter import clock
from tests.doubles.http import CLAIM, SIGNED, request
from tests.faults.dynamodb import DynamoDB
from tests.faults.table import Table
from tests.faults.values import ServiceError
from tests.faults.wire import SETTINGS, _answering
from tests.template.reading import resources

ROOT = Path(__file__).resolve().parents[2]
START_MS = 1_795_000_000_000
ACCOUNT = "123456789012"
REGION = "us-east-1"
TABLES = {"LedgerTable": "ledger", "UsageTable": "usage", "QuotasTable": "quotas", "TenantsTable": "tenants"}
ENVIRONMENT = {
    **SETTINGS,
    **{f"{name.upper()}_TABLE": name for name in TABLES.values()},
    "FAILURE_BUCKET": "failures",
    "LEDGER_RETENTION_DAYS": "400",
    "LOG_ACCOUNTS": ACCOUNT,
    "LOG_REGIONS": REGION,
    "LOG_STREAMS": "aws/bedrock/modelinvocations",
    "MAXIMUM_CALL_TOKENS": "10000000",
    "FAIL_POLICY": "closed",
    "EVENT_BUS": "meter",
    "JWT_SCOPES": "demanded",
    "JWT_TENANT_CLAIM": CLAIM,
    "POWERTOOLS_SERVICE_NAME": "findings",
    "POWERTOOLS_METRICS_NAMESPACE": "BedrockMeter",
}


class Findings:
    """One stack of its own, at a time of its own.

    Attributes:
        now_ms: What the clock says; functions that wait move it on.
        double: The tables.
        notes: Objects that were written to the failure bucket, by key.
        published: What was put on the event bus.
        refusal: What DynamoDB answers every request with; None: what was asked for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = START_MS
        self.notes: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []
        self.refusal: ServiceError | None = None
        self.double = DynamoDB(lambda: self.now_ms)
        for logical_id, name in TABLES.items():
            properties = resources("AWS::DynamoDB::Table")[logical_id]["Properties"]
            self.double.tables[name] = Table.created({**properties, "TableName": name})
        self._handlers: dict[str, Any] = {}
        self._records = 0
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        answer = _answering(self)
        monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", lambda _, request: answer(request))
        monkeypatch.setattr("bedrock_meter.storage.dynamodb._session", None)
        time = SimpleNamespace(time_ns=lambda: self.now_ms * 1_000_000, sleep=self.later)
        monkeypatch.setattr(clock, "time", time)

    def call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer what a function sent over the wire."""
        if service == "dynamodb":
            if self.refusal is not None:
                raise self.refusal
            return self.double.call(operation, request)
        if (service, operation) == ("s3", "PutObject"):
            self.notes[request["Key"]] = request["Body"]
            return {}
        if (service, operation) == ("events", "PutEvents"):
            self.published += [{**one, "Detail": json.loads(one["Detail"])} for one in request["Entries"]]
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "event"} for _ in request["Entries"]]}
        raise AssertionError(f"not known here: {service} {operation}")

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1_000)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        function: str = "",
        query: str = "",
        caller: Mapping[str, Any] = SIGNED,
        **headers: str,
    ) -> tuple[int, Any]:
        """Send a request to an API; returns the status and the document.

        Args:
            method: HTTP method.
            path: Without a query.
            body: Sent as JSON.
            function: Folder of the function; empty: where the template's routes lead to.
            query: The query.
            caller: What the gateway says of who asks.
            headers: Further headers, with an underscore for each dash.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        event = request(method, path, query=query, body=body, authorizer=caller, headers=named)
        answer = self._handler(function or _function_of(path))(event, _context())
        return answer["statusCode"], json.loads(answer["body"] or "null")

    def evaluate(self, tenant: str) -> list[dict[str, Any]]:
        """Tell of a change of a tenant's gauge, as the stream does; returns what was published for it."""
        keys = {"pk": {"S": tenant}, "sk": {"S": "GAUGE"}}
        known = len(self.published)
        self._handler("evaluate_quotas")({"Records": [{"dynamodb": {"Keys": keys, "SequenceNumber": "1"}}]}, _context())
        return self.published[known:]

    def http(
        self, method: str, path: str, query: str, text: str, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        """Answer a request to the admin API that came over the wire; returns status, headers and text."""
        event = request(method, path, query=query, body=text or None, authorizer=SIGNED, headers=headers)
        answer = self._handler("admin_api")(event, _context())
        return answer["statusCode"], dict(answer.get("headers") or {}), answer["body"] or ""

    def tenant(self, tenant: str, definition: Mapping[str, Any]) -> None:
        """Define a tenant, or define it anew, over the admin API; its mappings hold from then on."""
        path = f"/v1/admin/tenants/{tenant}"
        status, _ = self.ask("GET", path, function="admin_api")
        condition: dict[str, Any] = {"if_match": "*"} if status == 200 else {"if_none_match": "*"}
        status, said = self.ask("PUT", path, dict(definition), function="admin_api", **condition)
        assert status == 200, said
        self.later(120)  # What a warm function remembers of profiles and limits is over then.

    def quota(self, tenant: str, limit: str) -> Any:
        """What the quota API says of one limit."""
        status, said = self.ask("GET", f"/v1/tenants/{tenant}/quota")
        assert status == 200, said
        return next(one for one in said["limits"] if one["name"] == limit)

    def log(self, *records: Mapping[str, Any] | str, **envelope: str) -> None:
        """Deliver records as the subscription of the invocation log does."""
        self.invoke("record_usage", self.delivery(*records, **envelope))

    def invoke(self, function: str, event: Any, remaining_ms: Callable[[], int] = lambda: 60_000) -> Any:
        """Start a function with an event of AWS's; returns its answer."""
        return self._handler(function)(event, _context(remaining_ms))

    def delivery(self, *records: Mapping[str, Any] | str, **envelope: str) -> dict[str, Any]:
        """Return the subscription's event; ``envelope`` changes what it says beside the records, a text is a line."""
        lines = []
        for record in records:
            self._records += 1
            message = record if isinstance(record, str) else json.dumps(record)
            lines.append({"id": f"e{self._records}", "timestamp": self.now_ms, "message": message})
        payload = {
            "messageType": "DATA_MESSAGE",
            "owner": ACCOUNT,
            "logGroup": "/bedrock/invocations",
            "logStream": "aws/bedrock/modelinvocations",
            "subscriptionFilters": ["meter"],
            "logEvents": lines,
            **envelope,
        }
        return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(payload).encode(), 1)).decode()}}

    def record(self, profile: str, counts: Mapping[str, int], *, reservation: str = "", **more: Any) -> dict[str, Any]:
        """Return the log record of a call through a profile, made now.

        Args:
            profile: Id of an application inference profile of this account.
            counts: By the names that records use, from ``inputTokenCount`` to ``cacheWriteInputTokenCount``.
            reservation: Id that its request metadata brings.
            more: Further members of the record, or others than these.
        """
        self._records += 1
        reads = {name: count for name, count in counts.items() if name != "outputTokenCount"}
        return {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": self.now_ms,
            "accountId": ACCOUNT,
            "region": REGION,
            "requestId": f"r{self._records}",
            "operation": "Converse",
            "modelId": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{profile}",
            "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/service/session"},
            **({"requestMetadata": {"bedrock-meter-reservation": reservation}} if reservation else {}),
            "input": reads,
            "output": {"outputTokenCount": counts.get("outputTokenCount", 0)},
            **more,
        }

    def _handler(self, function: str) -> Any:
        """A function's handler, warm from its second use on."""
        if function not in self._handlers:
            path = ROOT / "functions" / function / "handler.py"
            spec = importlib.util.spec_from_file_location(f"findings_{function}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._handlers[function] = module.handler
        return self._handlers[function]


def _function_of(path: str) -> str:
    """Return the folder of the function that has a route for a path; the rest is the one that decides."""
    for function in resources("AWS::Serverless::Function").values():
        for event in function["Properties"].get("Events", {}).values():
            route = event["Properties"].get("Path", "") if event["Type"] == "HttpApi" else ""
            if route and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path):
                return Path(function["Properties"]["CodeUri"]).name
    return "quota_api"


def _context(remaining_ms: Callable[[], int] = lambda: 60_000) -> SimpleNamespace:
    return SimpleNamespace(
        function_name="findings",
        function_version="$LATEST",
        memory_limit_in_mb=512,
        invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:findings",
        aws_request_id="c0ffee",
        get_remaining_time_in_millis=remaining_ms,
    )
