"""Passwords as hashes that are slow to guess: scrypt, with its cost kept beside each, so that it can rise."""

import hashlib
import hmac
import secrets
import unicodedata
from base64 import b64decode, b64encode
from threading import BoundedSemaphore

_COST = (2**15, 8, 3)  # n, r, p: 32 MiB and about a quarter of a second
_MEMORY = 256 * 2**20
# Each takes memory: a flood of log-ins waits in line.
_turn = BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """``scrypt$n$r$p$salt$hash``, with a salt of its own."""
    salt = secrets.token_bytes(16)
    n, r, p = _COST
    digest = _scrypt(password, salt, n, r, p)
    return f"scrypt${n}${r}${p}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def matches(password: str, kept: str | None) -> bool:
    """Whether this is the password behind a hash. With None the answer is no, and takes as long."""
    if kept is None:
        _scrypt(password, b"nobody", *_COST)
        return False
    _, n, r, p, salt, digest = kept.split("$")
    return hmac.compare_digest(_scrypt(password, b64decode(salt), int(n), int(r), int(p)), b64decode(digest))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # Keyboards differ in how they write an accent.
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    with _turn:
        return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)
