"""Records that are readable, and that may not be Bedrock's: by what brought them, not by what they say."""

import pytest
from msgspec.structs import replace

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.invocations.doubt import EVERYTHING, SETTINGS, Origins
from bedrock_meter.invocations.quarantine import Reason
from bedrock_meter.invocations.record import Invocation, TokenCounts
from tests.doubles.records import invocation

OWN, LISTED, FOREIGN = "111111111111", "222222222222", "999999999999"
STREAM = "aws/bedrock/modelinvocations"
KEY = f"logs/AWSLogs/{OWN}/BedrockModelInvocationLogs/us-east-1/2026/11/24/01/x.json.gz"
SOME = TokenCounts(10, 5)
GIVEN = {
    "LOG_ACCOUNTS": f"{OWN},",
    "LOG_REGIONS": "us-east-1,",
    "LOG_STREAMS": STREAM,
    "MAXIMUM_CALL_TOKENS": "1000",
}


def origins(**changes: str) -> Origins:
    return Origins.configured(lambda name: {**GIVEN, **changes}[name])


def call(account: str = OWN, region: str = "us-east-1", tokens: TokenCounts = SOME) -> Invocation:
    return replace(invocation("r1"), account_id=account, region=region, tokens=tokens)


def of_delivery(record: Invocation, owner: str = OWN, stream: str = STREAM, **changes: str) -> Reason | None:
    return origins(**changes).of_delivery(owner, stream).doubt_of(record)


def of_object(record: Invocation, key: str = KEY, **changes: str) -> Reason | None:
    return origins(**changes).of_object(key).doubt_of(record)


def test_what_bedrock_writes_is_believed() -> None:
    assert of_delivery(call()) is None
    assert of_object(call()) is None
    assert of_object(call(), KEY.removeprefix("logs/")) is None


@pytest.mark.parametrize("judge", [of_delivery, of_object])
def test_another_account_or_region_is_not_believed(judge: object) -> None:
    assert judge(call(account=FOREIGN)) is Reason.FOREIGN_ACCOUNT  # type: ignore[operator]
    assert judge(call(region="eu-west-1")) is Reason.FOREIGN_REGION  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["input", "output", "cache_read", "cache_write"])
@pytest.mark.parametrize("judge", [of_delivery, of_object])
def test_a_count_is_bounded_and_the_bound_itself_is_admitted(judge: object, kind: str) -> None:
    assert judge(call(tokens=TokenCounts(**{kind: 1000}))) is None  # type: ignore[operator]
    assert judge(call(tokens=TokenCounts(**{kind: 1001}))) is Reason.IMPLAUSIBLE_COUNT  # type: ignore[operator]


@pytest.mark.parametrize("stream", ["", "2026/11/28/[$LATEST]0123", f"{STREAM}/x", f"x{STREAM}", STREAM.upper(), KEY])
def test_another_stream_is_not_believed(stream: str) -> None:
    assert of_delivery(call(), stream=stream) is Reason.FOREIGN_STREAM


@pytest.mark.parametrize("owner", ["", FOREIGN, LISTED])
def test_an_envelope_of_another_account_is_not_believed(owner: str) -> None:
    assert of_delivery(call(), owner=owner) is Reason.FOREIGN_ACCOUNT


def test_what_is_listed_is_believed_as_well() -> None:
    accounts = {"LOG_ACCOUNTS": f"{OWN},{LISTED}"}
    assert of_delivery(call(account=LISTED), **accounts) is None
    assert of_delivery(call(account=LISTED), owner=LISTED, **accounts) is None
    assert of_delivery(call(region="eu-west-1"), LOG_REGIONS="us-east-1,eu-west-1") is None
    assert of_delivery(call(), stream="another", LOG_STREAMS=f"{STREAM},another") is None
    assert of_object(call(account=LISTED), KEY.replace(OWN, LISTED), **accounts) is None
    assert of_delivery(call(account=FOREIGN), **accounts) is Reason.FOREIGN_ACCOUNT


def test_an_object_vouches_for_the_account_and_region_of_its_place_alone() -> None:
    wide = {"LOG_ACCOUNTS": f"{OWN},{LISTED}", "LOG_REGIONS": "us-east-1,eu-west-1"}
    assert of_object(call(account=LISTED), **wide) is Reason.FOREIGN_ACCOUNT
    assert of_object(call(region="eu-west-1"), **wide) is Reason.FOREIGN_REGION
    assert of_object(call(region="eu-west-1"), KEY.replace("us-east-1", "eu-west-1"), **wide) is None
    inside = f"AWSLogs/{LISTED}/BedrockModelInvocationLogs/eu-west-1/{KEY}"
    assert of_object(call(), inside, **wide) is Reason.FOREIGN_ACCOUNT, "whoever may write one folder, in that folder"
    for nowhere in ("AWSLogs/x/y", f"AWSLogs/{OWN}/BedrockModelInvocationLogs/x.json.gz"):
        assert of_object(call(), nowhere) is not None


def test_an_asterisk_switches_a_doubt_off() -> None:
    assert of_delivery(call(account=FOREIGN), owner="", LOG_ACCOUNTS=f"{OWN},*") is None
    assert of_delivery(call(region="eu-west-1"), LOG_REGIONS="us-east-1,*") is None
    assert of_delivery(call(), stream="any", LOG_STREAMS="*") is None
    assert of_object(call(account=FOREIGN), LOG_ACCOUNTS="*") is Reason.FOREIGN_ACCOUNT, "its place is known"
    assert of_object(call(account=FOREIGN), KEY.replace(OWN, FOREIGN), LOG_ACCOUNTS="*") is None
    most = call(account=FOREIGN, region="x", tokens=TokenCounts(2**53))
    assert EVERYTHING.of_delivery("", "").doubt_of(most) is None


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", ["", ",", " , "])
def test_a_setting_that_says_nothing_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        origins(**{name: value})


@pytest.mark.parametrize("value", ["0", "-1", "1.0E7", "many", "\u0661"])
def test_a_bound_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="MAXIMUM_CALL_TOKENS"):
        origins(MAXIMUM_CALL_TOKENS=value)
