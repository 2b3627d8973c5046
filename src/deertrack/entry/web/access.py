"""Who asks, and what they may do."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from deertrack.domain.accounts import Role

__all__ = ["Admin", "Reviewer", "Role", "Viewer", "Who"]


@dataclass(frozen=True, slots=True)
class Who:
    """Who made a request. ``name`` signs every change.

    ``user_id`` is None where nobody logs in, and for the token of the environment; ``session`` is the secret of
    the browser's session, None for a script with a token.
    """

    name: str
    role: Role
    user_id: int | None = None
    session: str | None = field(default=None, repr=False)


def _at_least(role: Role) -> object:
    def check(request: Request) -> Who:
        who: Who | None = getattr(request.state, "who", None)
        if who is None:
            raise HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"})
        if who.role < role:
            raise HTTPException(403, f"this needs the role {role.word}; {who.name} is {who.role.word}")
        return who

    return Depends(check)


# A route that asks for one of these is open to that role and those above it.
Viewer = Annotated[Who, _at_least(Role.VIEWER)]
Reviewer = Annotated[Who, _at_least(Role.REVIEWER)]
Admin = Annotated[Who, _at_least(Role.ADMIN)]
