"""Requests made from an OpenAPI document, valid and broken ones, against the resolver in process.

Held for each answer: no server error, no status, type, header or shape that the document does not have, and no answer
to a request without a valid signature. Hypothesis draws from a fixed seed, so that a finding comes back.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.fuzz.gateway import AUTHORIZED, Gateway

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
    unsupported_method,
]
SEED = 20261124


def fuzz(
    gateway: Gateway, document: str, known: Mapping[str, list[str]], examples: int
) -> dict[str, tuple[int, dict[int, int]]]:
    """Send ``examples`` requests to each operation; returns by operation how many, and the statuses they got.

    Args:
        gateway: What they are sent to.
        document: Path of the OpenAPI document there.
        known: Values that exist, by name of a path parameter or header, or ``body.`` and the name of a member: most
            requests get one, so that they go beyond a 404, a 428 or the first 400.
        examples: Requests for each operation; half of them break the document's rules.

    Raises:
        AssertionError: (or a group of them) An answer was not as promised; says which request to send.
    """
    headers = {"Authorization": AUTHORIZED}
    served = schemathesis.openapi.from_wsgi(document, gateway, headers=headers)
    # Read again from what was served: else the document's own route would be left out.
    schema = schemathesis.openapi.from_dict(served.raw_schema)
    schema.app = gateway
    outcome = {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        gateway.answers = {}
        broken = _fuzz(operation, GenerationMode.NEGATIVE, headers, known, examples // 2)
        sent = broken + _fuzz(operation, GenerationMode.POSITIVE, headers, known, examples - broken)
        outcome[f"{operation.method.upper()} {operation.path}"] = sent, dict(sorted(gateway.answers.items()))
    return outcome


def _fuzz(
    operation: Any, mode: GenerationMode, headers: dict[str, str], known: Mapping[str, list[str]], examples: int
) -> int:
    sent = 0
    headed = {one["name"] for one in operation.definition.raw.get("parameters", []) if one["in"] == "header"}
    names = [name for name in known if f"{{{name}}}" in operation.path or name in headed or name.startswith("body.")]
    values = {name: st.sampled_from([*known[name] * 3, None]) for name in names}

    @hypothesis.seed(SEED)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), chosen=st.fixed_dictionaries(values))
    def send(case: Any, chosen: dict[str, str | None]) -> None:
        nonlocal sent
        for name, value in chosen.items():
            if value is not None and f"{{{name}}}" in operation.path:
                case.path_parameters[name] = value
            elif value is not None and name.startswith("body."):
                member = name.removeprefix("body.")
                if isinstance(case.body, dict) and member in case.body:
                    case.body = {**case.body, member: value}
            elif value is not None:
                case.headers = {**(case.headers or {}), name: value}
        sent += 1
        case.call_and_validate(headers=headers, checks=CHECKS)
        unsigned = case.call()
        assert unsigned.status_code == 401, f"{case.method} {case.path} without a signature: {unsigned.status_code}"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            # Nothing about this operation can be broken: it takes no parameters and no body.
            assert mode is GenerationMode.NEGATIVE
    return sent
