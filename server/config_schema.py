"""The JSON Schema of the configuration, for editors.

`python -m server.config_schema` writes it to `config.schema.json`. Point an editor to it with
`"$schema"` in the configuration itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.document import ConfigDocument

SHIPPED = Path(__file__).with_name("config.schema.json")

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema of the document as people write it, short forms included."""
    made = ConfigDocument.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": _DRAFT, **made, "title": "aicore-gateway configuration"}


def schema_text() -> str:
    """Return the schema as it is shipped."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SHIPPED.write_text(schema_text(), encoding="utf-8")
