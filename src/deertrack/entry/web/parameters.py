"""Parameters that many routes take, with bounds that the database holds too."""

from typing import Annotated

from fastapi import Header, Path, Query, Response

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Query(ge=1, le=1000, description="So many at most.")]
Offset = Annotated[int, Query(ge=0, le=2**53, description="Pass over so many.")]
StationId = Annotated[int, Path(ge=1, le=2**31 - 1)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The individual's number.")]
IfMatch = Annotated[str | None, Header(description="The ETag of the thing when it was looked at.")]


def revision(if_match: str | None) -> str | None:
    """The revision that an If-Match header names; None where it names none or any."""
    named = None if if_match is None else if_match.strip().removeprefix("W/").strip('"')
    return None if named == "*" else named


def tag(response: Response, revision: str) -> None:
    """Say which revision this is."""
    response.headers["ETag"] = f'"{revision}"'
