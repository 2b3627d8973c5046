"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fastapi import Depends, HTTPException, Request


class Role(IntEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = 1
    REVIEWER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Who:
    """Who made a request. ``name`` signs every change."""

    name: str
    role: Role


def _at_least(role: Role) -> object:
    def check(request: Request) -> Who:
        who: Who | None = getattr(request.state, "who", None)
        if who is None:
            raise HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"})
        if who.role < role:
            raise HTTPException(
                403, f"this needs the role {role.name.lower()}; {who.name} is {who.role.name.lower()}"
            )
        return who

    return Depends(check)


# A route that asks for one of these is open to that role and those above it.
Viewer = Annotated[Who, _at_least(Role.VIEWER)]
Reviewer = Annotated[Who, _at_least(Role.REVIEWER)]
Admin = Annotated[Who, _at_least(Role.ADMIN)]
