"""Who may do what: one role for each function, every right written out, nothing granted that no code uses."""

import re

import pytest

from bedrock_meter.alerts.contracts import SOURCE
from bedrock_meter.storage.keys import PLANS, PRICES, principal_key, profile_key, tenant_key
from tests.template.expanding import expanded_resources
from tests.template.reading import (
    FUNCTIONS,
    as_list,
    environment,
    load_template,
    properties,
    resources,
    statements,
    words,
)

PROFILES = "arn:${AWS::Partition}:bedrock:${AWS::Region}:${AWS::AccountId}:application-inference-profile/*"
LOG_OBJECTS = "arn:${AWS::Partition}:s3:::${InvocationLogBucketName}/*"
_BEDROCK = "arn:${AWS::Partition}:bedrock:${AWS::Region}:${AWS::AccountId}:"
APPLICATION_PROFILES = f"{_BEDROCK}application-inference-profile/*"
SYSTEM_PROFILES = f"{_BEDROCK}inference-profile/*"
OBJECTS = {
    # Lambda refuses a bucket as a destination unless the role may write anywhere in it.
    "RecordUsageRole": {"${FailureBucket.Arn}/*", PROFILES},
    "RecordObjectsRole": {LOG_OBJECTS, PROFILES, "${FailureBucket.Arn}/quarantine/*"},
    "RedriveFailuresRole": {
        "${FailureBucket.Arn}/aws/lambda/async/${RecordUsageFunction}/*",
        "${FailureBucket.Arn}/aws/lambda/parked/${RecordUsageFunction}/*",
        "${FailureBucket.Arn}/quarantine/*",
        PROFILES,
    },
    # Service Quotas has no resources to read; of profiles only the place is known ahead.
    "SyncProfilesRole": {"*", APPLICATION_PROFILES, SYSTEM_PROFILES},
}
"""Objects of which no name is known ahead, by prefix; by the role that may touch them."""

LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}

GRANTED: dict[str, dict[str, set[str]]] = {
    "RecordUsageRole": {
        "RecordUsageLogGroup.Arn": LOG,
        "LedgerTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "UsageTable.Arn": {"dynamodb:UpdateItem"},
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TenantsTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:PutItem"},
        PROFILES: {"bedrock:GetInferenceProfile", "bedrock:ListTagsForResource"},
        "${FailureBucket.Arn}/*": {"s3:PutObject"},
        "FailureBucket.Arn": {"s3:ListBucket"},
        "FailureStoreKeyArn": {"kms:GenerateDataKey"},
    },
    "RecordObjectsRole": {
        "RecordObjectsLogGroup.Arn": LOG,
        "LedgerTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "UsageTable.Arn": {"dynamodb:UpdateItem"},
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TenantsTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:PutItem"},
        PROFILES: {"bedrock:GetInferenceProfile", "bedrock:ListTagsForResource"},
        "${FailureBucket.Arn}/quarantine/*": {"s3:PutObject"},
        LOG_OBJECTS: {"s3:GetObject"},
        "LogObjectsQueue.Arn": {
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        },
        "InvocationLogBucketKeyArn": {"kms:Decrypt"},
        "FailureStoreKeyArn": {"kms:GenerateDataKey"},
    },
    "RedriveFailuresRole": {
        "RedriveFailuresLogGroup.Arn": LOG,
        "LedgerTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "UsageTable.Arn": {"dynamodb:UpdateItem"},
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "TenantsTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:PutItem"},
        PROFILES: {"bedrock:GetInferenceProfile", "bedrock:ListTagsForResource"},
        "FailureBucket.Arn": {"s3:ListBucket"},
        "${FailureBucket.Arn}/aws/lambda/async/${RecordUsageFunction}/*": {
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:GetObjectTagging",
            "s3:PutObjectTagging",
        },
        "${FailureBucket.Arn}/aws/lambda/parked/${RecordUsageFunction}/*": {"s3:PutObject"},
        "${FailureBucket.Arn}/quarantine/*": {"s3:PutObject"},
        "FailureStoreKeyArn": {"kms:Decrypt", "kms:GenerateDataKey"},
    },
    "EvaluateQuotasRole": {
        "EvaluateQuotasLogGroup.Arn": LOG,
        "QuotasTable.StreamArn": {
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
        },
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "TenantsTable.Arn": {"dynamodb:GetItem"},
        "EventBus.Arn": {"events:PutEvents"},
        "EvaluationFailuresQueue.Arn": {"sqs:SendMessage"},
    },
    "SweepRole": {
        "SweepLogGroup.Arn": LOG,
        "${QuotasTable.Arn}/index/due": {"dynamodb:Query"},
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "TenantsTable.Arn": {"dynamodb:GetItem"},
        "EventBus.Arn": {"events:PutEvents"},
    },
    "QuotaApiRole": {
        "QuotaApiLogGroup.Arn": LOG,
        "QuotasTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"},
        "UsageTable.Arn": {"dynamodb:Query"},
        "TenantsTable.Arn": {"dynamodb:BatchGetItem", "dynamodb:GetItem"},
    },
    "ReportApiRole": {
        "ReportApiLogGroup.Arn": LOG,
        "QuotasTable.Arn": {"dynamodb:GetItem"},
        "UsageTable.Arn": {"dynamodb:Query"},
        "TenantsTable.Arn": {"dynamodb:GetItem"},
    },
    "AdminApiRole": {
        "AdminApiLogGroup.Arn": LOG,
        "TenantsTable.Arn": {
            "dynamodb:BatchGetItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
        },
        "LedgerTable.Arn": {"dynamodb:Scan", "dynamodb:UpdateItem"},
        "QuotasTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        "UsageTable.Arn": {"dynamodb:Query"},
    },
    "SyncProfilesRole": {
        "SyncProfilesLogGroup.Arn": LOG,
        APPLICATION_PROFILES: {
            "bedrock:GetInferenceProfile",
            "bedrock:ListInferenceProfiles",
            "bedrock:ListTagsForResource",
        },
        SYSTEM_PROFILES: {"bedrock:ListInferenceProfiles"},
        "*": {"servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota"},
        "TenantsTable.Arn": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"},
    },
    "RedriveFailuresScheduleRole": {"RedriveFailuresFunction.Arn": {"lambda:InvokeFunction"}},
    "SweepScheduleRole": {"SweepFunction.Arn": {"lambda:InvokeFunction"}},
    "SyncProfilesScheduleRole": {"SyncProfilesFunction.Arn": {"lambda:InvokeFunction"}},
    "InvocationLoggingRole": {
        "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${InvocationLogGroup}:"
        "log-stream:aws/bedrock/modelinvocations": LOG,
    },
}

TRUSTED = {
    "RecordUsageRole": "lambda.amazonaws.com",
    "RecordObjectsRole": "lambda.amazonaws.com",
    "RedriveFailuresRole": "lambda.amazonaws.com",
    "EvaluateQuotasRole": "lambda.amazonaws.com",
    "SweepRole": "lambda.amazonaws.com",
    "SyncProfilesRole": "lambda.amazonaws.com",
    "QuotaApiRole": "lambda.amazonaws.com",
    "ReportApiRole": "lambda.amazonaws.com",
    "AdminApiRole": "lambda.amazonaws.com",
    "RedriveFailuresScheduleRole": "scheduler.amazonaws.com",
    "SweepScheduleRole": "scheduler.amazonaws.com",
    "SyncProfilesScheduleRole": "scheduler.amazonaws.com",
    "InvocationLoggingRole": "bedrock.amazonaws.com",
}


def test_every_role_of_the_stack_is_written_out_here() -> None:
    expanded = expanded_resources()
    assert {name for name, one in expanded.items() if one["Type"] == "AWS::IAM::Role"} == set(GRANTED) == set(TRUSTED)
    kinds = {one["Type"] for one in expanded.values() if one["Type"].startswith("AWS::IAM::")}
    assert kinds == {"AWS::IAM::Role"}


@pytest.mark.parametrize("role", sorted(GRANTED))
def test_role_grants_exactly_this(role: str) -> None:
    granted: dict[str, set[str]] = {}
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        for resource in as_list(statement["Resource"]):
            granted.setdefault(words(resource), set()).update(as_list(statement["Action"]))
    assert granted == GRANTED[role]
    assert "ManagedPolicyArns" not in properties(role)


@pytest.mark.parametrize("role", sorted(TRUSTED))
def test_role_trusts_one_service(role: str) -> None:
    (statement,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": TRUSTED[role]}
    assert statement["Action"] == "sts:AssumeRole"
    if TRUSTED[role] != "lambda.amazonaws.com":  # Lambda assumes roles without saying for which account
        assert words(statement["Condition"]["StringEquals"]["aws:SourceAccount"]) == "AWS::AccountId"


def test_functions_share_no_role() -> None:
    roles = [words(properties(function)["Role"]).removesuffix(".Arn") for function in FUNCTIONS]
    assert sorted(roles) == sorted(role for role, service in TRUSTED.items() if service == "lambda.amazonaws.com")


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_function_is_told_exactly_the_tables_that_it_may_touch(function: str) -> None:
    told = {words(value) for name, value in environment(function).items() if name.endswith("_TABLE")}
    role = words(properties(function)["Role"]).removesuffix(".Arn")
    named = {re.match(r"(?:\$\{)?(\w+Table)\.Arn", words(one["Resource"])) for one in statements(role)}
    assert told == {match[1] for match in named if match}


@pytest.mark.parametrize("function", ["RecordUsage", "RecordObjects", "RedriveFailures"])
def test_all_that_record_leave_session_names_out_where_the_stack_says_so(function: str) -> None:
    assert environment(f"{function}Function")["KEEP_SESSION_NAMES"] == {"Ref": "KeepSessionNames"}


@pytest.mark.parametrize("function", ["RecordUsage", "RecordObjects", "RedriveFailures"])
def test_recorders_write_mappings_of_profiles_only_and_only_where_they_look_them_up(function: str) -> None:
    every = properties(f"{function}Role")["Policies"][0]["PolicyDocument"]["Statement"]
    asked = [one["Fn::If"] for one in every if "Fn::If" in one and one["Fn::If"][0] == "LooksUpProfiles"]
    assert [one[1]["Sid"] for one in asked] == ["Profiles", "Mappings"]
    assert asked[1][1]["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["PROFILE#*"]}}
    assert profile_key("x").startswith("PROFILE#")
    told = environment(f"{function}Function")["PROFILE_TAG_KEY"]
    assert words(told) == "TenantTagKey if LooksUpProfiles else "


def test_the_quota_api_reads_batches_of_prices_and_of_mappings_of_profiles_only() -> None:
    (batch,) = (
        one
        for one in statements("QuotaApiRole")
        if words(one["Resource"]) == "TenantsTable.Arn" and "dynamodb:BatchGetItem" in as_list(one["Action"])
    )
    assert batch["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [PRICES, "PROFILE#*"]}}


def test_reports_read_definitions_of_tenants_only() -> None:
    (tenants,) = (one for one in statements("ReportApiRole") if words(one["Resource"]) == "TenantsTable.Arn")
    assert tenants["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["TENANT#*"]}}
    assert tenant_key("x").startswith("TENANT#")


def test_administrators_take_away_plans_and_principals_only_and_see_no_counts_in_the_ledger() -> None:
    by_name = {one["Sid"]: one for one in statements("AdminApiRole")}
    (taking,) = (name for name, one in by_name.items() if "dynamodb:DeleteItem" in as_list(one["Action"]))
    assert by_name[taking]["Action"] == "dynamodb:DeleteItem"
    keys = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [PLANS, "PRINCIPAL#*"]}}
    assert by_name[taking]["Condition"] == keys
    assert principal_key("x").startswith("PRINCIPAL#")
    ledger = [name for name, one in by_name.items() if words(one["Resource"]) == "LedgerTable.Arn"]
    named = {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "principal", "tenant"]}}
    assert {name: by_name[name]["Condition"] for name in ledger} == {
        # A Scan without a projection names no attributes, and would see all: the second condition refuses it.
        "CallersFound": {**named, "StringEquals": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"}},
        "CallersForgotten": {**named, "StringEqualsIfExists": {"dynamodb:ReturnValues": "NONE"}},
    }


def test_nobody_publishes_on_the_bus_but_who_has_the_right_in_this_template() -> None:
    policy = load_template()["Resources"]["EventBusPolicy"]
    assert policy["Condition"] == "GuardsEventBus"
    assert load_template()["Parameters"]["OnlyMeterPublishes"]["Default"] == "true"
    assert words(policy["Properties"]["EventBusName"]) == "EventBus"
    statement = policy["Properties"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "events:PutEvents")
    assert words(statement["Resource"]) == "EventBus.Arn"
    assert statement["Sid"] == policy["Properties"]["StatementId"]
    publishing = {role for role in GRANTED for one in statements(role) if "events:PutEvents" in as_list(one["Action"])}
    excepted = {words(one).removesuffix(".Arn") for one in statement["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]}
    assert excepted == publishing == {"EvaluateQuotasRole", "SweepRole"}
    # A replay of the archive comes from the service.
    assert statement["Condition"]["BoolIfExists"] == {"aws:PrincipalIsAWSService": "false"}


def test_what_may_hold_prompts_can_have_a_key_of_the_operators() -> None:
    key = properties("InvocationLogGroup")["KmsKeyId"]
    assert words(key) == "InvocationLogKeyArn if HasInvocationLogKey else AWS::NoValue"
    assert load_template()["Parameters"]["InvocationLogKeyArn"]["Default"] == ""
    store = properties("FailureBucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert words(store["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]).startswith("FailureStoreKeyArn if ")


@pytest.mark.parametrize("role", ["EvaluateQuotasRole", "SweepRole"])
def test_events_are_published_in_our_name_only(role: str) -> None:
    (publish,) = (one for one in statements(role) if one["Action"] == "events:PutEvents")
    assert publish["Condition"] == {"StringEquals": {"events:source": SOURCE}}


def test_no_right_is_a_pattern() -> None:
    every = [(role, statement) for role in GRANTED for statement in statements(role)]
    for role, statement in every:
        for action in as_list(statement["Action"]):
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), (role, action)
        for resource in map(words, as_list(statement["Resource"])):
            assert "*" not in resource or resource in OBJECTS[role], (role, resource)


def test_failure_store_is_private() -> None:
    bucket = properties("FailureBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert (
        words(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"])
        == "aws:kms if HasFailureStoreKey else AES256"
    )
    (statement,) = properties("FailureBucketPolicy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    lives = {rule.get("Prefix"): rule.get("ExpirationInDays") for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert words(lives["aws/lambda/"]) == "FailureRetentionDays"
    assert load_template()["Parameters"]["FailureRetentionDays"]["Default"] <= 30
    assert lives["quarantine/"] == 90
    # Nobody reads it but the redrive, and people who were given that right.
    reading = [
        (role, words(one["Resource"]))
        for role in GRANTED
        for one in statements(role)
        if "s3:GetObject" in as_list(one["Action"]) and "FailureBucket" in words(one["Resource"])
    ]
    assert reading == [("RedriveFailuresRole", "${FailureBucket.Arn}/aws/lambda/async/${RecordUsageFunction}/*")]


def test_queues_are_encrypted() -> None:
    queues = resources("AWS::SQS::Queue")
    assert len(queues) == 6
    assert all(queue["Properties"]["SqsManagedSseEnabled"] is True for queue in queues.values())
