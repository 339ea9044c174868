"""The routes of the server, as an ASGI application."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from advsim.errors import AdvsimError, ConfigError, EngineDiedError, one_line
from advsim.serve.answer import completion, events
from advsim.serve.body import json_object
from advsim.serve.errors import RequestError
from advsim.serve.front import Front, scenarios_json, served_json, wanted_simulator
from advsim.serve.key import lets_in
from advsim.serve.metrics import METRICS_TYPE

Handler = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger(__name__)


def build_app(front: Front) -> Starlette:
    """The application of a server."""
    routes = Routes(front)
    guarded = routes.guarded
    return Starlette(
        routes=[
            Route("/health", answered(routes.health)),
            Route("/metrics", answered(routes.metrics)),
            Route("/v1/models", guarded(routes.models)),
            Route("/v1/models/{name:path}", guarded(routes.model)),
            Route("/v1/chat/completions", guarded(routes.chat), methods=["POST"]),
            Route("/v1/scenarios", guarded(routes.scenarios)),
            Route("/v1/adapter", guarded(routes.adapter)),
            Route("/v1/adapter", guarded(routes.change_adapter), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_route},
    )


class Routes:
    """What each route does."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._started = int(time.time())

    def guarded(self, handler: Handler) -> Handler:
        """The handler for those who have the key."""

        async def handle(request: Request) -> Response:
            if not lets_in(request.headers.get("authorization"), self._front.settings.key_sha256):
                raise RequestError(
                    401,
                    "no key, or a wrong one; send the server's key as 'Authorization: Bearer KEY'",
                    code="invalid_api_key",
                )
            return await handler(request)

        return answered(handle)

    async def health(self, request: Request) -> Response:
        """Whether somebody can be answered."""
        is_ok, said = await self._front.health()
        return JSONResponse(said, status_code=200 if is_ok else 503)

    async def metrics(self, request: Request) -> Response:
        """Counters as Prometheus text."""
        return Response(self._front.metrics.text(), headers={"Content-Type": METRICS_TYPE})

    async def models(self, request: Request) -> Response:
        """The names that a request may give as its model."""
        await self._front.served()
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self._front.models]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        await self._front.served()
        if name not in self._front.models:
            raise RequestError(404, f"there is no model {name[:100]!r}", code="model_not_found", param="model")
        return JSONResponse(self._model(name))

    async def scenarios(self, request: Request) -> Response:
        """The scenarios that may be asked for."""
        return JSONResponse(scenarios_json(self._front.settings.scenarios))

    async def adapter(self, request: Request) -> Response:
        """The simulator that is served."""
        return JSONResponse(served_json(await self._front.served()))

    async def change_adapter(self, request: Request) -> Response:
        """Serve another simulator of the run."""
        at = wanted_simulator(json_object(await self._body(request)))
        return JSONResponse(served_json(await self._front.change(at)))

    async def chat(self, request: Request) -> Response:
        """The person's next message."""
        front = self._front
        started = time.monotonic()
        status = 500
        front.metrics.in_flight.inc()
        try:
            chat, answer = await front.chat(json_object(await self._body(request)))
            status = 200
        except RequestError as refused:
            status = refused.status
            raise
        except AdvsimError as error:
            status = failure(error).status
            raise
        finally:
            front.metrics.in_flight.dec()
            front.metrics.answered(status, time.monotonic() - started)
        if not chat.stream:
            return JSONResponse(completion(answer))
        stream = events(answer, include_usage=chat.include_usage)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _body(self, request: Request) -> bytes:
        """The body of a request, which is not read where it is too large."""
        most = self._front.settings.max_body_bytes
        told = request.headers.get("content-length", "")
        if told.isdecimal() and len(told) < 20 and int(told) > most:
            raise _too_large(most)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _too_large(most)
        return bytes(body)

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "advsim"}


def answered(handler: Handler) -> Handler:
    """The handler with every error in OpenAI's shape; one that nobody expected is written to the log alone."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as refused:
            return _refusal(refused)
        except AdvsimError as error:
            logger.warning("%s %s: %s", request.method, request.url.path, one_line(str(error)))
            return _refusal(failure(error))
        except ClientDisconnect:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return _refusal(RequestError(500, "the server failed; its log says why", code="internal_error"))

    return handle


def failure(error: AdvsimError) -> RequestError:
    """What an error of the engines or the run means to a caller."""
    if isinstance(error, ConfigError):
        return RequestError(400, str(error), code="invalid_value")
    if isinstance(error, EngineDiedError):
        return RequestError(503, str(error), code="engine_died", retry_after_s=5)
    return RequestError(500, str(error), code="engine_failed")


def _refusal(refused: RequestError) -> Response:
    return JSONResponse(refused.body, status_code=refused.status, headers=refused.headers)


def _too_large(most: int) -> RequestError:
    return RequestError(413, f"the body is larger than {most} bytes; send fewer messages", code="body_too_large")


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = f"{request.method} {request.url.path[:100]}: there is POST /v1/chat/completions and GET /v1/models"
    code = "method_not_allowed" if status == 405 else "not_found"
    return _refusal(RequestError(status, said, code=code))
