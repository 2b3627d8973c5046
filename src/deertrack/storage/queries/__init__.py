"""Named SQL. Each block of a ``.sql`` file in this folder begins with ``-- name: <query>`` and says why."""

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load_queries(room: str) -> dict[str, sql.SQL]:
    """The queries of ``<room>.sql`` by name, ready for ``execute``."""
    text = files(__name__).joinpath(f"{room}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    # These texts ship with the package; only parameters come from outside.
    return {
        name: sql.SQL(cast(LiteralString, body)) for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
