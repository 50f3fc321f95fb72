"""Writes of pynamodb items over the version that was read: done, or somebody else was first."""

from typing import Any


def saved(item: Any, condition: Any = None) -> bool:
    """Write an item over its own version, and on a condition of its own; False if it changed meanwhile."""
    from pynamodb.exceptions import PutError

    try:
        item.save(condition=condition)
    except PutError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise
    return True


def deleted(item: Any) -> bool:
    """Delete an item of its own version; False if it changed meanwhile."""
    from pynamodb.exceptions import DeleteError

    try:
        item.delete()
    except DeleteError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise
    return True
