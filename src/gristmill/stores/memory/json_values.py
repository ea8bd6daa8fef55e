"""What callers hand over as JSON is kept as a copy of its own, and refused when it is no JSON."""

import json
from collections.abc import Mapping
from typing import Any


def json_copy(value: Mapping[str, object]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(value))
    return copied
