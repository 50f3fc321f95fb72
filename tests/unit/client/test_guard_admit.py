"""Calls that are made by other means than a guarded client, and admitted by hand."""

import pytest

from bedrock_meter.client import RESERVATION_KEY, Amounts, TenantGuard
from tests.doubles.quota import MODEL, PROFILE_ARN, QuotaService


def test_a_call_by_other_means(guard: TenantGuard, quota: QuotaService) -> None:
    with guard.admit("acme", model=MODEL, estimate=Amounts(1, 50, 50)) as admitted:
        assert admitted.profile is not None
        assert admitted.profile.arn == PROFILE_ARN
        assert admitted.metadata == {RESERVATION_KEY: admitted.reservation}
        admitted.used(Amounts(1, 10, 5))
        admitted.used(Amounts(1, 1, 1))
        admitted.refused()
    assert quota.reserved("acme") == 15, "the first end counts"


def test_a_call_by_other_means_that_fails_stays_held(guard: TenantGuard, quota: QuotaService) -> None:
    with pytest.raises(ZeroDivisionError), guard.admit("acme", model=MODEL, estimate=Amounts(1, 50, 50)) as admitted:
        raise ZeroDivisionError
    admitted.used(Amounts(1))
    assert quota.reserved("acme") == 100
