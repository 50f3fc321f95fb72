"""The repair lock's item: in memory, on the double below botocore, and on DynamoDB as the local stack serves it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from bedrock_meter.reconciliation.repair_lock import LOCK_MS, Holder, LockState, RepairLockStore
from bedrock_meter.settings import Tables
from bedrock_meter.storage.repair_lock import DynamoDBRepairLock
from tests.contract.disturbed import Alone, Interposed, create_tables
from tests.doubles.records import NOW_MS
from tests.doubles.repair_lock import MemoryRepairLock
from tests.faults.wire import attached

ANNA = Holder("one", "rerate", "arn:aws:iam::123456789012:role/anna", NOW_MS, NOW_MS + LOCK_MS)
BERT = Holder("two", "rebuild --in-place", "arn:aws:iam::123456789012:role/bert", NOW_MS + 9, NOW_MS + 9 + LOCK_MS)

_numbers = itertools.count()


def made(client: Any) -> tuple[Any, Tables]:
    tables = Tables(*(f"{name}-lock-{next(_numbers)}" for name in ("ledger", "usage", "quotas", "tenants")))
    create_tables(client, tables)
    return client, tables


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes clients of doubles of their own."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return lambda: attached("dynamodb", Alone())


@pytest.fixture(params=["memory", "double", "local stack"])
def store(request: pytest.FixtureRequest) -> RepairLockStore:
    """The item under contract."""
    if request.param == "memory":
        return MemoryRepairLock()
    if request.param == "double":
        return DynamoDBRepairLock(*made(request.getfixturevalue("double")()))
    return DynamoDBRepairLock(*made(request.getfixturevalue("endpoint").client("dynamodb")))


def test_one_has_it_and_the_other_hears_who(store: RepairLockStore) -> None:
    assert store.state() == LockState()
    assert store.take(ANNA, NOW_MS) is None
    assert store.take(BERT, NOW_MS + 9) == ANNA
    assert store.state() == LockState(ANNA, 1)


def test_it_is_free_when_it_is_given_back_by_whoever_has_it(store: RepairLockStore) -> None:
    store.take(ANNA, NOW_MS)
    store.release(BERT)
    assert store.state().holder == ANNA
    store.release(ANNA)
    store.release(ANNA)
    assert store.state() == LockState(None, 1)
    assert store.take(BERT, NOW_MS + 9) is None
    assert store.state() == LockState(BERT, 2)


def test_it_is_free_from_its_end_on(store: RepairLockStore) -> None:
    store.take(ANNA, NOW_MS)
    assert store.take(BERT, ANNA.expires_ms - 1) == ANNA
    assert store.take(BERT, ANNA.expires_ms) is None
    assert not store.renew(ANNA, ANNA.expires_ms + LOCK_MS)
    assert store.state().holder == BERT


def test_only_who_has_it_moves_its_end(store: RepairLockStore) -> None:
    assert not store.renew(ANNA, NOW_MS + 1)
    assert store.state() == LockState(), "nothing is made by it"
    store.take(ANNA, NOW_MS)
    assert not store.renew(BERT, NOW_MS + 5 * LOCK_MS)
    assert store.renew(ANNA, NOW_MS + 2 * LOCK_MS)
    assert store.take(BERT, ANNA.expires_ms) == replace(ANNA, expires_ms=NOW_MS + 2 * LOCK_MS)


def test_a_reply_that_got_lost_is_no_other_holder(double: Callable[[], Any]) -> None:
    client, tables = made(double())

    def lose(at: int, after: bool) -> None:
        if at == 0 and after:
            raise ReadTimeoutError(endpoint_url="dynamodb")

    assert DynamoDBRepairLock(Interposed(client, lose), tables).take(ANNA, NOW_MS) is None
    assert DynamoDBRepairLock(Interposed(client, lose), tables).renew(ANNA, NOW_MS + 2 * LOCK_MS)
    assert DynamoDBRepairLock(client, tables).state().holder == replace(ANNA, expires_ms=NOW_MS + 2 * LOCK_MS)


def test_giving_back_does_not_fail_a_command_that_is_through(double: Callable[[], Any]) -> None:
    client, tables = made(double())
    DynamoDBRepairLock(client, tables).take(ANNA, NOW_MS)

    def lose(at: int, after: bool) -> None:
        raise ReadTimeoutError(endpoint_url="dynamodb")

    DynamoDBRepairLock(Interposed(client, lose), tables).release(ANNA)
    assert DynamoDBRepairLock(client, tables).state().holder == ANNA, "it runs out by itself"
