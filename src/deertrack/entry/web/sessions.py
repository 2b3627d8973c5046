"""The cookie that holds a session, and where somebody may be sent after logging in."""

import hashlib
import hmac
from urllib.parse import urlsplit

from fastapi import Request, Response

COOKIE = "deertrack_session"
_LONGEST = 30 * 24 * 3600  # seconds; the database ends it sooner where nobody comes


def keep_session(request: Request, response: Response, secret: str, *, https: bool) -> None:
    """Give the browser a session. Scripts cannot read it, and other sites cannot send it along with a POST."""
    secure = https or request.url.scheme == "https"
    response.set_cookie(COOKIE, secret, max_age=_LONGEST, httponly=True, samesite="lax", secure=secure)


def drop_session(response: Response) -> None:
    """Take the session away from the browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")


def csrf_of(secret: str) -> str:
    """What a page sends back to show that it is ours: bound to the session, and no help to guess it."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def address_of(request: Request) -> str:
    """Where a request came from, as the server or a proxy that it trusts says."""
    return request.client.host if request.client else "unknown"


def local_path(text: str) -> str:
    """A path on this server out of ``?next=``; the first page where it is anything else."""
    parts = urlsplit(text) if text.isprintable() and "\\" not in text else None
    if parts is None or parts.scheme or parts.netloc or not text.startswith("/") or text.startswith("//"):
        return "/"
    return text
