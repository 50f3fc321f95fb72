"""What surrounds the tables, as the functions and the command meet it over the wire: S3, the log, Lambda, the stack.

Small on purpose: it knows the requests that these tests lead to, and refuses every other.
"""

import io
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from tests.findings.world import ACCOUNT, ENVIRONMENT, REGION, Findings

STACK = "bedrock-meter"
RECORDER = "recorder"
LOG_GROUP = "/bedrock/invocations"
OUTPUTS = {
    **{f"{name.capitalize()}Table": name for name in ("ledger", "usage", "quotas", "tenants")},
    "FailureBucket": "failures",
    "InvocationLogGroup": LOG_GROUP,
    "RecordUsageFunction": RECORDER,
}


class Services:
    """The services beside DynamoDB, which ``stack`` answers.

    Attributes:
        objects: Content by bucket and key.
        tags: Tags of an object, as they were sent.
        log: Lines of the log group: when they were logged, stream, id and text.
        settings: Environment of the recorder, as Lambda tells it.
        puts: How often an object was put.
    """

    def __init__(self, stack: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack = stack
        self.objects: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.log: list[tuple[int, str, str, str]] = []
        self.settings = dict(ENVIRONMENT)
        self.puts = 0
        self._sent = URLLib3Session.send

        def send(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            return self._answer(session, request)

        monkeypatch.setattr(URLLib3Session, "send", send)
        for name, value in {
            "RECORD_USAGE_FUNCTION": RECORDER,
            "OBJECT_QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/objects",
            "AWS_ACCESS_KEY_ID": "invented",
            "AWS_SECRET_ACCESS_KEY": "invented",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdin", io.StringIO())

    def notes(self) -> list[dict[str, Any]]:
        """What quarantine holds."""
        return [json.loads(body) for key, body in self.objects.items() if key.startswith("failures/quarantine/")]

    def keys(self, prefix: str) -> list[str]:
        """Names of the failure bucket's objects below a prefix."""
        return [key for key in self.objects if key.startswith(f"failures/{prefix}")]

    def _answer(self, session: Any, request: AWSPreparedRequest) -> AWSResponse:
        url = urlsplit(request.url)
        target = _text(request.headers.get("X-Amz-Target") or "")
        host = url.netloc
        if ".s3." in host or host.startswith("s3."):
            return self._s3(request)
        if target.startswith("Logs_"):
            return _response(request, json.dumps(self._logs(json.loads(request.body))), "application/x-amz-json-1.1")
        if host.startswith("lambda."):
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{RECORDER}"
            said = {"FunctionName": RECORDER, "FunctionArn": arn, "Environment": {"Variables": self.settings}}
            return _response(request, json.dumps(said), "application/json")
        if host.startswith("cloudformation."):
            return _response(request, _stack(), "text/xml")
        if host.startswith("sts."):
            me = f"<Arn>arn:aws:iam::{ACCOUNT}:role/ops</Arn><Account>{ACCOUNT}</Account><UserId>u</UserId>"
            result = f"<GetCallerIdentityResult>{me}</GetCallerIdentityResult>"
            return _response(request, f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>", "text/xml")
        if target.startswith("DynamoDB") and target.endswith(".DescribeTable"):
            return _response(request, json.dumps({"Table": {}}), "application/x-amz-json-1.0")
        return self._sent(session, request)

    def _logs(self, wanted: dict[str, Any]) -> dict[str, Any]:
        found = [one for one in self.log if wanted["startTime"] <= one[0] <= wanted["endTime"]]
        events = [
            {"timestamp": at_ms, "logStreamName": stream, "eventId": name, "message": line}
            for at_ms, stream, name, line in found
        ]
        return {"events": events}

    def _s3(self, request: AWSPreparedRequest) -> AWSResponse:
        url = urlsplit(request.url)
        query = parse_qs(url.query, keep_blank_values=True)
        bucket, _, rest = url.netloc.partition(".s3.")
        name = unquote(url.path.lstrip("/"))
        key = f"{bucket}/{name}" if rest else name
        source = request.headers.get("x-amz-copy-source")
        body = request.body.read() if hasattr(request.body, "read") else request.body or b""
        if "list-type" in query:
            return self._listed(request, key.rstrip("/"), query["prefix"][0])
        if request.method == "DELETE":
            self.objects.pop(key, None)
            self.tags.pop(key, None)
            return _response(request, "", status=204)
        if request.method == "PUT" and source is not None:
            copied = self.objects.get(unquote(_text(source)).lstrip("/"))
            if copied is None:
                return _gone(request)
            self.objects[key] = copied
            return _response(request, "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", "application/xml")
        if request.method == "PUT" and "tagging" not in query:
            self.puts += 1
            self.objects[key] = body
            return _response(request, "")
        if key not in self.objects:
            return _gone(request)
        if request.method == "PUT":
            self.tags[key] = body
            return _response(request, "")
        if "tagging" in query:
            tags = self.tags.get(key, b"<Tagging><TagSet></TagSet></Tagging>")
            return _response(request, tags.decode(), "application/xml")
        return _response(request, self.objects[key])

    def _listed(self, request: AWSPreparedRequest, bucket: str, prefix: str) -> AWSResponse:
        names = [(key.partition("/")[2], len(body)) for key, body in self.objects.items() if key.startswith(bucket)]
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size></Contents>"
            for name, size in sorted(names)
            if name.startswith(prefix)
        )
        said = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        return _response(request, said, "application/xml")


class _Raw(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [self.read()]


def _stack() -> str:
    outputs = "".join(
        f"<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for name, value in OUTPUTS.items()
    )
    fixed = "<CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>"
    member = f"<member><StackName>{STACK}</StackName>{fixed}<Outputs>{outputs}</Outputs></member>"
    result = f"<DescribeStacksResult><Stacks>{member}</Stacks></DescribeStacksResult>"
    return f"<DescribeStacksResponse>{result}</DescribeStacksResponse>"


def _gone(request: AWSPreparedRequest) -> AWSResponse:
    return _response(request, "<Error><Code>NoSuchKey</Code></Error>", "application/xml", status=404)


def _response(
    request: AWSPreparedRequest, body: str | bytes, kind: str = "binary/octet-stream", *, status: int = 200
) -> AWSResponse:
    content = body.encode() if isinstance(body, str) else body
    return AWSResponse(request.url, status, {"content-type": kind, "etag": '"x"'}, _Raw(content))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
