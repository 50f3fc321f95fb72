"""What a token weighs against Bedrock's own quotas: the numbers of the ``weighted_tokens`` meter.

Bedrock burns a quota of tokens per minute by input + cache write + output x rate; cache reads are free (AWS user guide,
token burndown of quotas: 15 for Claude 4.8; 10 for Claude Opus 5.5, Sonnet 5, Opus 5, Fable 5.1 and for GPT-5.6 Sol,
Terra and Luna; 5 for Claude 4.7 and below; 1 for all others). What is billed is another matter. Claude models that the
page does not name (Haiku 5.5, Sonnet 5.5, Fable 5, Mythos) weigh 1 by its last sentence; unconfirmed.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from bedrock_meter.pricing.models import base_model


class Weights(NamedTuple):
    """How often a token of each kind counts."""

    input: int = 1
    output: int = 1
    cache_read: int = 0
    cache_write: int = 1


_END = r"(?:-v[0-9]+.*|-20[0-9]{6}.*|:[0-9]+)?"
_FOUR = rf"anthropic\.claude-(?:opus|sonnet|haiku)-4(?:-[1-7])?{_END}"

OUTPUT_RATES = (
    (rf"anthropic\.claude-[a-z]+-4-8{_END}", 15),
    (rf"anthropic\.claude-(?:opus-5-5|opus-5|sonnet-5|fable-5-1){_END}", 10),
    (rf"openai\.gpt-5\.6-(?:sol|terra|luna){_END}", 10),
    (_FOUR, 5),
    (r"anthropic\.claude-(?:instant|v[0-9]|3-).*", 5),
)
"""Pattern of base models -> how often an output token counts. The first row that fits counts; 1 without one."""

HEAVIEST = Weights(output=max(rate for _, rate in OUTPUT_RATES))
"""What tokens weigh at most, of whichever model."""

_COMPILED = tuple((re.compile(pattern), rate) for pattern, rate in OUTPUT_RATES)


@lru_cache(maxsize=1024)
def weights_of(model: str) -> Weights:
    """Return the weights of a model: a base model's id, or a system profile's id or ARN."""
    name = base_model(model).model
    return Weights(output=next((rate for pattern, rate in _COMPILED if pattern.fullmatch(name)), 1))
