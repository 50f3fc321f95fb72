"""The guard's place in botocore: which of its events are used, and why those.

``before-parameter-build``
    Once a call, before validation, endpoint and signature, with parameters that may still be changed. Handlers on it
    compose, where of ``provide-client-params`` only the first answer counts. What is raised here reaches the caller as
    it is, outside the loop of retries. A call that botocore itself would refuse is refused first, by the same
    validator: nothing is held for it.
``response-received``
    Once an attempt. Retries happen below, each attempt has a request id and a log record of its own, and all carry the
    one reservation's id. Here is noted whether an attempt that failed may have run.
``after-call``
    Once a call that got an answer: used, refused, or not known.
``after-call-error``
    Once a call that got none.

``before-call`` serves where the installed botocore has no ``requestMetadata`` for InvokeModel: the header is set there,
before the signature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import EventStreamError, ParamValidationError
from botocore.validate import ParamValidator

from bedrock_meter.client import usage
from bedrock_meter.client.admission import Admission, Admitted, named_tenant
from bedrock_meter.client.bodies import tier_of
from bedrock_meter.client.errors import InvalidMetadata
from bedrock_meter.client.estimate import Estimator
from bedrock_meter.client.operations import (
    GUARDED,
    METADATA_HEADER,
    Operation,
    add_metadata,
    model_of,
    use_profile,
)
from bedrock_meter.client.outcomes import was_never_sent, was_refused, was_refused_in_stream
from bedrock_meter.client.quota import TIERS, subject_of
from bedrock_meter.client.streams import GuardedStream
from bedrock_meter.errors import ConfigurationError
from bedrock_meter.invocations.identifiers import RESERVATION_KEY

CONTEXT = "bedrock-meter"
"""Key of a call's state in botocore's request context, and of what an answer's ``ResponseMetadata`` says about it."""


@dataclass(slots=True)
class _Call:
    """State of one call while botocore makes it.

    Attributes:
        operation: Which.
        admitted: What is held for it.
        header: Text of the metadata header, where no parameter takes it.
        may_have_run: Whether an earlier attempt may have reached the model.
    """

    operation: Operation
    admitted: Admitted
    header: str | None = None
    may_have_run: bool = False


class Hooks:
    """Handlers of one guarded client.

    Args:
        admission: Admits calls.
        tenant: Says whose call is being made, when it is made.
        estimator: Says what a call may use.
        region: The client's.
        validates: Whether the client validates parameters.
    """

    def __init__(
        self,
        admission: Admission,
        tenant: Callable[[], str],
        estimator: Estimator,
        *,
        region: str | None,
        validates: bool,
    ) -> None:
        self._admission = admission
        self._tenant = tenant
        self._estimator = estimator
        self._region = region
        self._validator = ParamValidator() if validates else None

    def register(self, client: Any) -> None:
        """Take part in the calls of a client. Handlers of the caller's own run before these."""
        service = client.meta.service_model.service_id.hyphenize()
        for operation in GUARDED[client.meta.service_model.service_name]:
            for event, handler in (
                ("before-parameter-build", self.before_parameters),
                ("before-call", self.before_call),
                ("response-received", self.after_attempt),
                ("after-call", self.after_call),
                ("after-call-error", self.after_error),
            ):
                client.meta.events.register_last(f"{event}.{service}.{operation}", handler)

    def before_parameters(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Admit the call, name the tenant's profile, and write the reservation's id into the metadata."""
        if context.get("is_presign_request"):
            raise ConfigurationError("a guarded client does not presign: nobody would see when the call is made")
        if self._validator is not None:
            report = self._validator.validate(params, model.input_shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
        name = model.name
        operation = GUARDED[model.service_model.service_name][name]
        members = model.input_shape.members
        known = "requestMetadata" in members
        add_metadata(operation, dict(params), {RESERVATION_KEY: ""}, known=known)
        model_id = model_of(name, params)
        tier = tier_of(name, params)
        admitted = self._admission.admit(
            self._named_tenant(),
            model_id,
            self._estimator(name, params),
            region=self._region,
            tier=tier if tier in TIERS else None,
            leases=operation.usage is not None,
        )
        try:
            header = add_metadata(operation, params, admitted.metadata, known=known)
        except InvalidMetadata:
            admitted.refused()
            raise
        if admitted.profile is not None and subject_of(admitted.tenant, model_id).profile is None:
            use_profile(name, params, admitted.profile.arn, model.input_shape)
        context[CONTEXT] = _Call(operation, admitted, header)

    def _named_tenant(self) -> str:
        try:
            return named_tenant(self._tenant())
        except LookupError as problem:
            raise ConfigurationError(
                "the function that says whose call it is found no tenant (LookupError): set the context variable in "
                "the thread or task that makes the call, or give wrap the tenant's id"
            ) from problem

    def before_call(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Set the metadata header where botocore has no parameter for it."""
        call: _Call | None = context.get(CONTEXT)
        if call is not None and call.header is not None:
            params["headers"][METADATA_HEADER] = call.header

    def after_attempt(
        self,
        response_dict: Mapping[str, Any] | None,
        parsed_response: Mapping[str, Any] | None,
        context: dict[str, Any],
        exception: BaseException | None,
        **_: Any,
    ) -> None:
        """Note whether an attempt that failed may have run."""
        call: _Call | None = context.get(CONTEXT)
        if call is None:
            return
        if exception is not None:
            call.may_have_run |= not was_never_sent(exception)
        elif response_dict is not None and response_dict["status_code"] >= 300:
            call.may_have_run |= not was_refused(response_dict["status_code"], _code(parsed_response))

    def after_call(self, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """End the call by its answer, or watch its stream for what ends it."""
        call: _Call | None = context.pop(CONTEXT, None)
        if call is None:
            return
        admitted = call.admitted
        if http_response.status_code >= 300:
            _end_without_usage(call, refused=was_refused(http_response.status_code, _code(parsed)))
            return
        parsed.setdefault("ResponseMetadata", {})[CONTEXT] = {
            "tenant": admitted.tenant,
            "reservation": admitted.reservation,
            "degraded": admitted.degraded,
            "leased": admitted.leased,
        }
        if call.may_have_run or call.operation.usage is None:
            admitted.unknown()  # another attempt's record may come, or records that carry no id
        elif call.operation.stream is not None:
            watch = _Watch(admitted)
            parsed[call.operation.stream] = GuardedStream(parsed[call.operation.stream], watch.observe, watch.failed)
        else:
            found = (
                usage.of_document(parsed.get("usage"))
                if call.operation.usage == "document"
                else usage.of_headers(parsed["ResponseMetadata"].get("HTTPHeaders", {}))
            )
            if found is not None:
                admitted.used(found)

    def after_error(self, exception: BaseException, context: dict[str, Any], **_: Any) -> None:
        """End a call that got no answer."""
        call: _Call | None = context.pop(CONTEXT, None)
        if call is not None:
            _end_without_usage(call, refused=was_never_sent(exception))


def _end_without_usage(call: _Call, *, refused: bool) -> None:
    if refused and not call.may_have_run:
        call.admitted.refused()
    else:
        call.admitted.unknown()


class _Watch:
    """Ends a call by what its stream says. No attempt before this one may have run."""

    def __init__(self, admitted: Admitted) -> None:
        self._admitted = admitted
        self._has_content = False

    def observe(self, event: Mapping[str, Any]) -> None:
        """Look at an event before its reader does."""
        self._has_content = self._has_content or set(event) != {"messageStart"}
        found = usage.of_event(event)
        if found is not None:
            self._admitted.used(found)

    def failed(self, error: EventStreamError) -> None:
        """Release what is held if Bedrock refused the call inside the stream; leave it held otherwise."""
        if was_refused_in_stream(_code(error.response), has_content=self._has_content):
            self._admitted.refused()


def _code(parsed: Mapping[str, Any] | None) -> str:
    return str(((parsed or {}).get("Error") or {}).get("Code", ""))
