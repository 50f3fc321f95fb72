"""What the stack bears, and who is told where API Gateway answers requests of the quota API by itself."""

from typing import Any

from tests.template.reading import load_template, resources, words

STACK = "AWS::StackName"


def default(parameter: str) -> Any:
    return load_template()["Parameters"][parameter]["Default"]


def test_the_quota_api_takes_two_thousand_requests_a_second_of_all_tenants_together() -> None:
    assert (default("ApiRequestsPerSecond"), default("ApiBurst")) == (2_000, 4_000)


def test_an_alarm_watches_what_the_gateway_refuses_itself() -> None:
    """The function never sees such a request, so what tells of it is made of the access log."""
    filters = [one["Properties"] for one in resources("AWS::Logs::MetricFilter").values()]
    made = {
        (metric["MetricNamespace"], metric["MetricName"])
        for one in filters
        if words(one["LogGroupName"]) == "QuotaApiAccessLogGroup" and '"429"' in one["FilterPattern"]
        for metric in one["MetricTransformations"]
    }
    alarms = [one["Properties"] for one in resources("AWS::CloudWatch::Alarm").values()]
    watching = [one for one in alarms if (one.get("Namespace"), one.get("MetricName")) in made]
    assert [[words(action) for action in one["AlarmActions"]] for one in watching] == [["AlertTopic"]]
    assert [[words(one["Value"]) for one in alarm["Dimensions"]] for alarm in watching] == [[STACK]]
