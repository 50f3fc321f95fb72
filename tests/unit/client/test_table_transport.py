import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bedrock_meter.client import (
    Amounts,
    QuotaRefused,
    QuotaUnavailable,
    Reservation,
    ReservationRequest,
    TableTransport,
)
from bedrock_meter.client.table_transport import CONFLICT_PAUSES_SECONDS
from tests.doubles.quota import QuotaService

REQUEST = ReservationRequest("key-1", Amounts(1, 10, 20), "model")


class Contended(Exception):
    pass


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "UpdateItem")


@pytest.mark.parametrize(
    "error", [client_error("x", 500), client_error("ThrottlingException"), EndpointConnectionError(endpoint_url="x")]
)
def test_an_outage_of_the_tables(quota: QuotaService, error: Exception) -> None:
    quota.errors = [error]
    with pytest.raises(QuotaUnavailable) as problem:
        TableTransport(quota).reserve("acme", REQUEST)
    assert not problem.value.closed


def test_a_missing_right_is_no_outage(quota: QuotaService) -> None:
    quota.errors = [client_error("AccessDeniedException")]
    with pytest.raises(QuotaRefused, match="AccessDeniedException"):
        TableTransport(quota).reserve("acme", REQUEST)


def test_many_writers_are_waited_for_and_open_nothing(quota: QuotaService) -> None:
    pauses: list[float] = []
    transport = TableTransport(quota, busy=(Contended,), pause=pauses.append)
    quota.errors = [Contended("a"), Contended("b")]
    assert isinstance(transport.reserve("acme", REQUEST), Reservation)
    quota.errors = [Contended("c")] * 9
    with pytest.raises(QuotaUnavailable) as problem:
        transport.reserve("acme", ReservationRequest("key-2", Amounts(1)))
    assert problem.value.closed
    assert pauses == [*CONFLICT_PAUSES_SECONDS[:2], *CONFLICT_PAUSES_SECONDS]


def test_whatever_else_goes_wrong_is_shown(quota: QuotaService) -> None:
    quota.errors = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        TableTransport(quota).reserve("acme", REQUEST)
