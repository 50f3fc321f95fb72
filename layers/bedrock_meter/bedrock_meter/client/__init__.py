"""The guard for boto3: what a service imports. Needs botocore only."""

from bedrock_meter.client.admission import Admitted
from bedrock_meter.client.errors import (
    ForeignProfile,
    InvalidMetadata,
    NoProfile,
    QuotaBusy,
    QuotaRefused,
    QuotaUnavailable,
    TenantThrottled,
)
from bedrock_meter.client.estimate import estimate
from bedrock_meter.client.guard import TenantGuard
from bedrock_meter.client.http_transport import HttpTransport
from bedrock_meter.client.lease import Lease
from bedrock_meter.client.operations import METADATA_HEADER
from bedrock_meter.client.quota import (
    Amounts,
    Denial,
    Profile,
    Reservation,
    ReservationRequest,
    Transport,
)
from bedrock_meter.client.throttles import ThrottleList
from bedrock_meter.invocations.identifiers import RESERVATION_KEY

__all__ = [
    "METADATA_HEADER",
    "RESERVATION_KEY",
    "Admitted",
    "Amounts",
    "Denial",
    "ForeignProfile",
    "HttpTransport",
    "InvalidMetadata",
    "Lease",
    "NoProfile",
    "Profile",
    "QuotaBusy",
    "QuotaRefused",
    "QuotaUnavailable",
    "Reservation",
    "ReservationRequest",
    "TenantGuard",
    "TenantThrottled",
    "ThrottleList",
    "Transport",
    "estimate",
]
