"""An announcer for whoever does not ask what is announced."""

from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.settlement import Uncovered


class Silent:
    """Announces nothing, and says that it did."""

    def announce(self, entry: LedgerEntry, now_ms: int) -> bool:
        return True

    def announce_unpriced(self, entry: LedgerEntry, now_ms: int) -> bool:
        return True

    def announce_unreserved(self, entry: LedgerEntry, uncovered: Uncovered, now_ms: int) -> bool:
        return True
