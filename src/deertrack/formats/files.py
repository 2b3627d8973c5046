"""Opening files that people hand over, and saying plainly what is wrong with them."""

import json
import tomllib
from pathlib import Path

from deertrack.domain.errors import InputError


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; line ends stay as they are.

    Args:
        path: the file.
        what: what it should be, with its article ("a stations file"), for the message.

    Raises:
        InputError: no such file, not readable, empty, or not UTF-8 (a NUL is not text either).
    """
    content = _read_bytes(path, what)
    try:
        text, odd = content.decode("utf-8-sig"), content.find(b"\0")
    except UnicodeDecodeError as error:
        text, odd = "", error.start
    if odd >= 0:
        line = content.count(b"\n", 0, odd) + 1
        raise InputError(
            f"{path}, line {line}: expected {what} as UTF-8 text, got the byte 0x{content[odd]:02x}",
            hint="Save it again as UTF-8 (in a spreadsheet: the type 'CSV UTF-8').",
        )
    return text


def read_json(path: Path, what: str, *, hint: str = "") -> object:
    """The value in a JSON file: UTF-8, -16 or -32, with or without a byte order mark; NaN is let through.

    Raises:
        InputError: no such file, not readable, empty, or not JSON; names line and column.
    """
    try:
        value: object = json.loads(_read_bytes(path, what, hint=hint))
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise InputError(
            f"{place}: expected {what} in JSON, got broken JSON: {error.msg}", hint=hint
        ) from None
    except (ValueError, RecursionError) as error:  # bytes that are no text, a number of 5,000 digits, …
        reason = "brackets nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path}: expected {what} in JSON, got: {reason}", hint=hint) from None
    return value


def read_toml(path: Path, what: str, *, hint: str = "") -> object:
    """The table in a TOML file.

    Raises:
        InputError: no such file, not readable, empty, not UTF-8 or not TOML; names line and column.
    """
    try:
        return tomllib.loads(read_text(path, what))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {what} in TOML, got: {error}", hint=hint) from None


def _read_bytes(path: Path, what: str, *, hint: str = "") -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, but there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: expected {what}, but it cannot be read: {error.strerror}") from None
    if not content.strip():
        raise InputError(f"{path}: expected {what}, got an empty file", hint=hint)
    return content
