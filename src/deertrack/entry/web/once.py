"""Requests that may be sent twice and are done once: the ``Idempotency-Key`` header.

A network fails after the server did its work and before the answer came through; a script or a page on a bad line
then sends the request again. With the same key it gets the first one's answer, and nothing is done a second time.

A route takes part by saying so::

    @router.post("/api/v1/merges", dependencies=[Once])

The key is the sender's to choose (a UUID, say), 1 to 200 printable characters, and counts for whoever sends it,
for 24 hours. Another request under a used key is refused (422), one whose first is still being worked on too (409).
Only success is remembered: what was refused changed nothing, and may be asked again. The answer is kept as JSON and
without headers; not for routes that stream, or that answer with a secret. The work and the memory of it are two
transactions: if the server is killed between them, the same request a minute later is done again.
"""

import hashlib
from typing import cast

from fastapi import Depends, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deertrack.domain.errors import InputError
from deertrack.storage import answers
from deertrack.storage.answers import Answer
from deertrack.storage.db import Database


class AnsweredError(Exception):
    """This request was answered before. No failure: a way out of the route."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def replay(_: Request, error: AnsweredError) -> Response:
    """The answer as it was."""
    status, body = error.answer.status or 200, error.answer.body or b""
    kind = "application/json" if body else None
    return Response(body, status, {"Idempotency-Replayed": "true"}, media_type=kind)


async def _once(request: Request) -> None:
    key, who = request.headers.get("idempotency-key"), request.state.who
    if key is None or who is None:
        return
    if not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        raise HTTPException(400, "expected an Idempotency-Key of 1 to 200 printable ASCII characters")
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
    digest = hashlib.sha256(asked).digest()
    recorder = cast(Recorder, request.state.recorder)
    known = await run_in_threadpool(recorder.claim, who.name, key, digest)
    if known is None:
        return
    if known.request != digest:
        raise InputError(f"the Idempotency-Key {key!r} was used for another request", hint="Use a new one.")
    if known.status is None:
        raise HTTPException(
            409, "this request is being worked on; ask again in a moment", {"Retry-After": "2"}
        )
    raise AnsweredError(known)


Once = Depends(_once)


class Recorder:
    """Around the routes: keeps the answer of a route that claimed a key before anybody gets it."""

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self._app, self._db = app, db
        self._claimed: tuple[str, str] | None = None

    def claim(self, who: str, key: str, digest: bytes) -> Answer | None:
        """See :func:`deertrack.storage.answers.claim`."""
        with self._db.transaction() as connection:
            known = answers.claim(connection, who, key, digest)
        if known is None:
            self._claimed = who, key
        return known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["recorder"] = self
        held: list[Message] = []

        async def send_once_kept(message: Message) -> None:
            if self._claimed is None:
                await send(message)
                return
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                body = b"".join(part.get("body", b"") for part in held[1:])
                await run_in_threadpool(self._settle, held[0]["status"], body)
                for part in held:
                    await send(part)

        try:
            await self._app(scope, receive, send_once_kept)
        finally:
            if self._claimed:  # it ended without an answer
                await run_in_threadpool(self._settle, 500, b"")

    def _settle(self, status: int, body: bytes) -> None:
        assert self._claimed is not None
        (who, key), self._claimed = self._claimed, None
        with self._db.transaction() as connection:
            if 200 <= status < 300:
                answers.keep(connection, who, key, status, body)
            else:
                answers.forget(connection, who, key)
