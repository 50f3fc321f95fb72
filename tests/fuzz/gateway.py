"""An HTTP API in process: WSGI in, an event of payload 2.0 to a resolver, its answer out.

More careless than the real gateway on purpose: it lets requests through that it could not authenticate, as a route
without an authorizer would, so that the function's own refusal is what is tested.
"""

import base64
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tests.doubles.http import SIGNED

AUTHORIZED = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261124/us-east-1/execute-api/aws4_request"
TEXT = ("text/", "application/json", "application/xml", "application/javascript")
_numbers = itertools.count(1)

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Resolver(Protocol):
    """What answers events: a function, or several behind routes."""

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one."""


class Gateway:
    """WSGI application before a resolver; ``answers`` counts statuses."""

    def __init__(self, resolver: Resolver, authorizer: Mapping[str, Any] = SIGNED) -> None:
        self.resolver = resolver
        self.authorizer = authorizer
        self.answers: dict[int, int] = {}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        answer = self.resolver.resolve(self._event(environ), None)
        status = int(answer["statusCode"])
        self.answers[status] = self.answers.get(status, 0) + 1
        content = str(answer.get("body") or "").encode()
        headers = [(name, str(value)) for name, value in (answer.get("headers") or {}).items() if value is not None]
        start_response(f"{status} -", [*headers, ("Content-Length", str(len(content)))])
        return [content]

    def _event(self, environ: dict[str, Any]) -> dict[str, Any]:
        path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
        method = environ["REQUEST_METHOD"]
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        is_text = environ.get("CONTENT_TYPE", "").lower().startswith(TEXT)
        body = content.decode("utf-8", "replace") if is_text else base64.b64encode(content).decode()
        context = {
            "http": {"method": method, "path": path},
            "stage": "$default",
            "requestId": f"request-{next(_numbers)}",
            **({"authorizer": self.authorizer} if headers.get("authorization") == AUTHORIZED else {}),
        }
        return {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": environ.get("QUERY_STRING", ""),
            "headers": headers,
            "requestContext": context,
            "isBase64Encoded": not is_text,
            **({"body": body} if content else {}),
        }
