"""What the OpenAPI documents of our APIs share: problems, headers, security, and how an operation is written."""

from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_meter.api.problems import CONTENT_TYPE, FOREIGN_PROFILE, TENANT_BUSY

Schema = dict[str, Any]

VERSION = "1"
"""Of the contract, as in the path; members may be added under it, never taken away."""

TENANT: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
INSTANT: Schema = {"type": "string", "format": "date-time", "description": "UTC, with milliseconds"}
AMOUNT: Schema = {"type": "integer", "minimum": 0}
USD: Schema = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "description": "US dollars"}

MEASURED: Schema = {
    "type": ["integer", "string"],
    "minimum": 0,
    "pattern": USD["pattern"],
    "description": "in the limit's unit; US dollars as an exact decimal text",
}

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "description": "what a program tells it by; `about:blank`: the status says all",
            "examples": ["about:blank", FOREIGN_PROFILE, TENANT_BUSY],
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "the value that is wrong"},
        "retry_after_seconds": {
            "type": ["integer", "null"],
            "description": "as `Retry-After`; null: waiting does not help",
        },
    },
}
GATEWAY: Schema = {
    "type": "object",
    "description": "What API Gateway itself answers; it cannot be made a problem document",
    "properties": {"message": {"type": ["string", "null"]}},
}
STATUSES = {
    400: "A value is wrong; `field` names it, where it is one",
    401: "The request is not signed, or its token is not valid",
    403: "The token has none of the scopes that this takes; or API Gateway, which says that too: the signature is "
    "wrong, or IAM does not allow this path",
    404: "Not there, or not the caller's to see: the same body",
    409: "Something else is there already",
    412: "It has changed since it was read",
    413: "The body is too large",
    428: "`If-Match` is missing",
    429: f"One range of keys in the tables, such as this tenant's, is asked too much (`{TENANT_BUSY}`): wait for "
    "`Retry-After`; or API Gateway's own throttle, which is no problem document",
    500: "Something is wrong here; `X-Request-Id` names it in the log",
    503: "The tables cannot be asked at the moment",
}
COMMON = (400, 401, 403, 404, 429, 500, 503)
SECURITY: dict[str, Schema] = {
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "x-amazon-apigateway-authtype": "awsSigv4",
        "description": "AWS Signature Version 4 for the service execute-api; IAM decides by the path",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "At the address for tokens, where the stack has one; the token's tenant must be the path's. An "
        "operation names the scopes of which the token needs one, unless the stack ignores scopes",
    },
}


def string(description: str = "", **more: Any) -> Schema:
    """Return a schema of text."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def nullable(schema: Schema) -> Schema:
    """Return a schema that allows null as well."""
    return {**schema, "type": [schema["type"], "null"]}


def array(items: Schema, **more: Any) -> Schema:
    """Return a schema of a list."""
    return {"type": "array", "items": items, **more}


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def strict(properties: Mapping[str, Schema], required: Sequence[str] = (), **more: Any) -> Schema:
    """Return a schema of what is sent: nothing but these members."""
    return {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
        **more,
    }


def answered(properties: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """Return a schema of what is answered: these members are there, more may come in later versions."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def parameter(name: str, where: str, schema: Schema, description: str) -> Schema:
    """Return a parameter; one of a path is required."""
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


def content(schema: Schema, media: str = "application/json") -> Schema:
    """Return a body."""
    return {media: {"schema": schema}}


def answer(description: str, schema: Schema | None, headers: Mapping[str, str] | None = None) -> Schema:
    """Return a response; header names with what they say."""
    named = {"X-Request-Id": "names the request in our log", **(headers or {})}
    return {
        "description": description,
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in named.items()},
        **({} if schema is None else {"content": content(schema)}),
    }


def operation(
    identifier: str,
    summary: str,
    answers: Mapping[int, Schema],
    *,
    parameters: Sequence[Schema] = (),
    body: Schema | None = None,
    statuses: Sequence[int] = COMMON,
) -> Schema:
    """Return an operation.

    Args:
        identifier: Its name.
        summary: What it does.
        answers: Responses of its own, by status.
        parameters: Of path, query and header.
        body: Schema of the JSON object that is sent.
        statuses: Problems that it shares with others.
    """
    responses = {str(status): _refusal(status) for status in statuses} | {str(key): one for key, one in answers.items()}
    sent = {} if body is None else {"requestBody": {"required": True, "content": content(body)}}
    listed = {"parameters": list(parameters)} if parameters else {}
    return {
        "operationId": identifier,
        "summary": summary,
        **listed,
        **sent,
        "responses": dict(sorted(responses.items())),
    }


def openapi(
    title: str, description: str, paths: Mapping[str, Any], schemas: Mapping[str, Schema], security: Sequence[str]
) -> dict[str, Any]:
    """Return a whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": description},
        "security": [{name: []} for name in security],
        "paths": dict(paths),
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM, "GatewayError": GATEWAY},
            "securitySchemes": {name: SECURITY[name] for name in security},
        },
    }


def _refusal(status: int) -> Schema:
    bodies = content(reference("Problem"), CONTENT_TYPE)
    if status in {401, 403, 429, 500, 503}:
        bodies |= content(reference("GatewayError"))
    return {"description": STATUSES[status], "content": bodies}
