"""An API's own OpenAPI document, served by itself."""

import json
from functools import lru_cache
from importlib import import_module

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.requests import query
from bedrock_meter.api.resolver import Resolver


def add_document(api: Resolver, path: str, module: str) -> None:
    """Add the route that serves ``document()`` of a module, which is loaded when somebody asks.

    Args:
        api: Gets it.
        path: Where it is served.
        module: Dotted name of the module that makes the document.
    """

    @api.routes.get(path)
    def document() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        return Response(200, "application/json", _text(module), headers={"Cache-Control": "private, max-age=300"})


@lru_cache
def _text(module: str) -> str:
    return json.dumps(import_module(module).document())
