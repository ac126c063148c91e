"""A web shop that talks with its customers: FastAPI with a message router in the same process.

    pip install pyrouter-server fastapi uvicorn
    uvicorn examples.fastapi_app:app

- A customer logs in (`POST /login`) and gets a token. With it the customer's phone keeps one connection to the router's
  own port (`GET /where` tells the address).
- The shop writes to a customer (`POST /orders/alice`): durable once answered, pushed at once if the phone is there.
- Customers write to the user `shop`; `answer` reads that mailbox.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from pyrouter import AuthError, Identity, Router, RouterFailed
from pyrouter.client import Refused

DATA = os.environ.get("SHOP_DATA", "shop-data")
PORT = int(os.environ.get("SHOP_ROUTER_PORT", "7400"))

sessions: dict[str, str] = {}  # token → user; yours is a table in your database


class State(TypedDict):
    """What the application keeps while it runs."""

    router: Router
    address: str


async def authenticate(token: str) -> Identity:
    """Says who a phone's connection speaks for. May ask a database: it holds up that one connection only."""
    user = sessions.get(token)
    if user is None:
        raise AuthError("log in again")
    return Identity(user)


async def answer(router: Router) -> None:
    """Answers every message to the shop. What was not acknowledged comes again after a restart."""
    async for message in router.mailbox("shop"):
        # An id of its own makes the answer one message, even if we end before the next line and do this again.
        await router.send("shop", message.sender, b"Thank you for: " + message.body, id=b"re:" + message.id[:29])
        await message.ack()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Opens the router with the application and closes it with it."""
    try:
        async with Router.open(DATA, authenticate=authenticate) as router, asyncio.TaskGroup() as tasks:
            listener = await router.serve("127.0.0.1", PORT)
            answering = tasks.create_task(answer(router))
            yield {"router": router, "address": f"ws://{listener.addresses[0]}"}
            answering.cancel()
    except RouterFailed:
        signal.raise_signal(signal.SIGTERM)  # nothing works any more: end, and let the service manager start us anew
        raise


app = FastAPI(title="A shop that talks", lifespan=lifespan)


def the_router(request: Request) -> Router:
    """The router of this application, for an endpoint."""
    router: Router = request.state.router
    return router


TheRouter = Annotated[Router, Depends(the_router)]


@app.post("/login")
async def login(user: str, router: TheRouter) -> dict[str, str]:
    """Gives a token to whoever asks. Yours asks for a password first."""
    try:
        await router.create_user(user)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    token = secrets.token_urlsafe()
    sessions[token] = user
    return {"token": token}


@app.get("/where")
async def where(request: Request) -> dict[str, str]:
    """Where phones connect."""
    address: str = request.state.address
    return {"server": address}


@app.post("/orders/{user}", status_code=201)
async def order(user: str, what: str, router: TheRouter) -> dict[str, str | int]:
    """Tells a customer about an order."""
    try:
        sent = await router.send("shop", user, f"Your order: {what}".encode())
    except Refused as error:
        raise HTTPException(404 if error.code == "unknown_user" else 409, error.message) from error
    return {"conversation": sent.conversation.hex(), "seq": sent.seq}


@app.get("/health")
async def health(router: TheRouter, response: Response) -> dict[str, str]:
    """For the load balancer."""
    response.status_code = 503 if router.unready else 200
    return {"router": router.unready or "ok"}
