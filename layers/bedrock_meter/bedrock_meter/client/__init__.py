"""The guard for boto3: what a service imports. Needs botocore only."""

from bedrock_meter.client.admission import Admitted
from bedrock_meter.client.errors import InvalidMetadata, NoProfile, QuotaRefused, QuotaUnavailable, TenantThrottled
from bedrock_meter.client.estimate import estimate
from bedrock_meter.client.guard import TenantGuard
from bedrock_meter.client.http_transport import HttpTransport
from bedrock_meter.client.lease import Lease
from bedrock_meter.client.quota import (
    RESERVATION_KEY,
    Amounts,
    Denial,
    Profile,
    Reservation,
    ReservationRequest,
    Transport,
)
from bedrock_meter.client.table_transport import TableTransport
from bedrock_meter.client.throttles import ThrottleList

__all__ = [
    "RESERVATION_KEY",
    "Admitted",
    "Amounts",
    "Denial",
    "HttpTransport",
    "InvalidMetadata",
    "Lease",
    "NoProfile",
    "Profile",
    "QuotaRefused",
    "QuotaUnavailable",
    "Reservation",
    "ReservationRequest",
    "TableTransport",
    "TenantGuard",
    "TenantThrottled",
    "ThrottleList",
    "Transport",
    "estimate",
]
