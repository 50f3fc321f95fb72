import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from bedrock_meter.client.outcomes import was_never_sent, was_refused
from tests.doubles.bedrock import shared_session


def test_every_error_of_the_service_model_is_decided() -> None:
    model = shared_session().get_service_model("bedrock-runtime")
    refused: set[str] = set()
    open_: set[str] = set()
    for name in ("Converse", "InvokeModel", "InvokeModelWithResponseStream"):
        for shape in model.operation_model(name).error_shapes:
            status = shape.metadata["error"]["httpStatusCode"]
            (refused if was_refused(status, shape.name) else open_).add(shape.name)
    assert refused == {
        "AccessDeniedException",
        "ModelNotReadyException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "ThrottlingException",
        "ValidationException",
    }
    assert open_ == {
        "InternalServerException",
        "ModelErrorException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
    }


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="x"),
        ConnectionClosedError(endpoint_url="x"),
        HTTPClientError(error="x"),
        SSLError(endpoint_url="x", error="x"),
        ResponseStreamingError(error="x"),
        ValueError(),
    ],
)
def test_in_doubt_it_was_sent(error: Exception) -> None:
    assert not was_never_sent(error)


def test_without_credentials_nothing_is_sent() -> None:
    assert was_never_sent(NoCredentialsError())
