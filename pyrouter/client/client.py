"""The client for asyncio programs: keeps a session alive over whatever connections it takes.

Everything about the wire is in `protocol.py`; here are the event loop, the waiting, and the reconnecting. One task per
client; none per message. What was made in one turn of the loop leaves in one write.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from pyrouter.client.arguments import check_token
from pyrouter.client.backoff import STEADY_S, Backoff
from pyrouter.client.carriers import CLOSE_WITHIN_S, Connect, connector
from pyrouter.client.changes import Change
from pyrouter.client.errors import ClientClosed, ClientError, Refused, SessionRefused
from pyrouter.client.group import GroupState
from pyrouter.client.groups import GroupCalls
from pyrouter.client.line import Line
from pyrouter.client.model import (
    Accepted,
    Connected,
    Device,
    DeviceList,
    Disconnected,
    Event,
    Limits,
    Message,
    Receipt,
    Rejected,
    SentMessage,
    Skipped,
    State,
    Target,
    Undelivered,
)
from pyrouter.client.outbox import check_kept
from pyrouter.client.protocol import Protocol
from pyrouter.client.questions import Answer, Question
from pyrouter.client.watch import Watch, fail

__all__ = ["Client", "Token"]

# A token, or who makes a fresh one for each connection.
Token = str | Callable[[], Awaitable[str]]


class Client(GroupCalls):
    """One device's session with a server, while the `async with` lasts.

    It connects by itself, and again whenever the connection ends. What was sent and not answered is sent again, with
    the same id and in the same order; what arrives twice is dropped. It ends only when it is closed, or when the server
    says that there is no point in coming back: then every waiting call raises that `SessionEnded`.

    Args:
        url: `ws://HOST:PORT`, `wss://HOST:PORT` or `tcp://HOST:PORT`.
        token: names the user and the device; or an async function that gets a fresh one, asked before each connection.
        receive: whether this session takes the device's messages; one such session per device, the newest wins.
        name: name and version of the program, for the operator; at most 64 bytes.
        window_messages, window_bytes: unacknowledged messages that this program takes at most; 0: the server's default.
        cursors: `cursors` of an earlier run, so that what was acknowledged then is dropped if it comes again.
        on_event: is told all that happens, as it happens, from the event loop; must return at once.
        ssl: for `wss://`, instead of the system's defaults.
        connect: makes connections, instead of `url`.
        backoff: how long to wait between attempts.

    Raises:
        BadUrl: `url` is none of these.
        BadArgument: another argument cannot be.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        receive: bool = True,
        name: str = "pyrouter.client",
        window_messages: int = 0,
        window_bytes: int = 0,
        cursors: Mapping[bytes, int] | None = None,
        on_event: Callable[[Event], None] | None = None,
        ssl: tls.SSLContext | None = None,
        connect: Connect | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        if isinstance(token, str):
            check_token(token)
        self._connect = connect or connector(url, ssl)
        self._token = token
        self._on_event = on_event
        self._backoff = backoff or Backoff()
        self._loop = asyncio.get_running_loop()
        self._protocol = Protocol(
            receive=receive,
            client=name,
            window_messages=window_messages,
            window_bytes=window_bytes,
            cursors=cursors,
            owner=self,
            clock=self._loop.time,
        )
        self._task: asyncio.Task[None] | None = None
        self._end: ClientError | None = None  # why no more will happen
        self._line: Line | None = None  # the current connection
        self._left: asyncio.Future[None] = self._loop.create_future()  # the server has handled all that we sent
        self._flush_soon = False
        self._ready_at = 0.0  # when the last welcome came
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # uvloop's handles do not always know
        self._incoming: deque[Message | Skipped] = deque()  # bounded by the session's window
        self._news: asyncio.Event = asyncio.Event()  # something in _incoming, or the end
        self._change: asyncio.Event = asyncio.Event()  # a connection or an answer came, or the end
        self._watch = Watch()
        self._asking: dict[Question, list[asyncio.Future[Answer]]] = {}

    # Life.

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="pyrouter.client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session. The server takes in the last acknowledgements first, within 2 s; for sends see `drain`."""
        self._finish(ClientClosed("the client was closed"))
        try:
            if (line := self._line) is not None and line.carrier is not None:
                self._protocol.leave()
                self._flush()
                if self._protocol.ready:
                    # Frames that wait for something in the server go with their connection.
                    either: list[asyncio.Future[Any]] = [line.ended, self._left]
                    await asyncio.wait(either, timeout=CLOSE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
                line.carrier.close()
                await asyncio.wait([line.ended], timeout=CLOSE_WITHIN_S)
        finally:  # also when closing is cancelled: the connection ends with its task
            if self._task is not None:
                self._task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def connected(self) -> None:
        """Waits until the server has said welcome on a connection that still holds."""
        while not self._protocol.ready:
            await self._next_change()

    async def drain(self) -> None:
        """Waits until every send is answered."""
        while len(self._protocol.outbox):
            await self._next_change()

    # Sending.

    async def send(
        self,
        to: Target,
        body: bytes = b"",
        *,
        id: bytes | None = None,
        media: Sequence[bytes] = (),
        bodies: Mapping[Device, bytes] | None = None,
        lists: Mapping[str, tuple[int, Sequence[int]]] | None = None,
    ) -> SentMessage:
        """Sends a message; returns as soon as this client keeps it (`State.PENDING`), connected or not.

        Waits only while more than the client's bound is unanswered. To know that the server has it: `await
        sent.accepted()`.

        Args:
            to: a user's name, a conversation's id, or a `Device`.
            body: opaque bytes, one body for all …
            id: 1 to 32 bytes, to repeat a message of an earlier run; None: a fresh one.
            media: ids of media that the body refers to.
            bodies: … or one per device, with
            lists: the device lists that they were made for: user → (version, devices).

        Raises:
            BadArgument: an argument is not as above, or the id is on its way already.
            SessionEnded, ClientClosed: the client has stopped.
        """
        self._check()
        check_kept(len(body))
        while not self._protocol.outbox.has_room(len(body)):
            await self._next_change()
        sent = self._protocol.send(to, body, id=id, media=media, bodies=bodies, lists=lists)
        self._soon()
        return sent

    def read(self, conversation: bytes, seq: int, authors: Sequence[str] = ()) -> None:
        """The user has read the conversation up to `seq`: of these authors, or of the other user.

        Raises:
            BadArgument: an argument cannot be.
        """
        self._protocol.read(conversation, seq, authors)
        self._soon()

    async def devices(self, user: str) -> DeviceList:
        """A user's devices. Raises `Refused` if the server knows no such user, `BadArgument` if there can be none."""
        answer = await self.ask(Question("devices", user=user))
        assert isinstance(answer, DeviceList)
        return answer

    async def reached(self, sent: SentMessage, state: State) -> None:
        """Waits until a message came so far; as `SentMessage.accepted`, `delivered`, `read`."""
        await self._watch.reached(sent, min(state, State.SENT))
        if state > State.SENT:
            self._protocol.seek(sent)
            self._soon()
            await self._watch.reached(sent, state)

    # Groups: the rest of it is in `GroupCalls`.

    async def manage(self, conversation: bytes, change: Change, *, id: bytes | None = None) -> SentMessage:
        """As `GroupCalls.manage`. SessionEnded, ClientClosed: the client has stopped."""
        self._check()
        while not self._protocol.outbox.has_room():
            await self._next_change()
        sent = self._protocol.manage(conversation, change, id=id)
        self._soon()
        await sent.accepted()
        return sent

    def group_state(self, conversation: bytes, *, current: bool = False) -> GroupState | None:
        """As `GroupCalls.group_state`."""
        book = self._protocol.book
        return book.current(conversation) if current else book.state(conversation)

    async def ask(self, question: Question) -> Answer:
        """As `GroupCalls.ask`. SessionEnded, ClientClosed: the client has stopped."""
        self._check()
        self._protocol.ask(question)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._asking.setdefault(question, []).append(answer)
        self._soon()
        return await answer

    # Receiving.

    async def receive(self) -> Message | Skipped:
        """The next of what `incoming` gives. A wait that is cancelled (`asyncio.timeout`) loses nothing.

        Raises:
            SessionEnded, ClientClosed: why the client ended.
        """
        while not self._incoming:
            self._check()
            self._news.clear()
            await self._news.wait()
        return self._incoming.popleft()

    async def incoming(self) -> AsyncIterator[Message | Skipped]:
        """What arrives, each conversation in order and each message once; also what will never arrive.

        A message that is not acknowledged (`await message.ack()`) comes again in the next run of the program. More than
        the session's window are not sent until some are acknowledged. Raises why the client ended, unless by `close`.
        """
        while True:
            try:
                item = await self.receive()
            except ClientClosed:
                return
            yield item

    async def messages(self) -> AsyncIterator[Message]:
        """As `incoming`, messages only."""
        async for item in self.incoming():
            if isinstance(item, Message):
                yield item

    def ack(self, conversation: bytes, seq: int) -> None:
        """As `Message.ack`, by number: this device keeps the conversation up to `seq`. BadArgument: that never came."""
        self._protocol.ack(conversation, seq)
        self._soon()

    def cursors(self) -> dict[bytes, int]:
        """What this device acknowledged, conversation → seq: to be kept for the next run."""
        return self._protocol.cursors()

    @property
    def user(self) -> str:
        """Who this client is; empty before the first welcome."""
        return self._protocol.user

    @property
    def device(self) -> int:
        """Which device of the user."""
        return self._protocol.device

    @property
    def idle(self) -> bool:
        """Whether every send is answered and nobody waits for one to come further."""
        return not len(self._protocol.outbox) and not self._watch

    @property
    def limits(self) -> Limits:
        """The server's limits, as the last welcome told them."""
        return self._protocol.limits

    # Connecting.

    async def _run(self) -> None:
        try:
            while self._end is None:
                reason, wait_s = await self._one_connection()
                if self._end is None:
                    self._tell(Disconnected(reason, wait_s))
                    await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            raise
        except ClientError as error:
            self._finish(error)
        except Exception as error:  # noqa: BLE001  # ours or the token function's: those who wait must hear of it
            failure = ClientError(f"the client failed: {error!r}")
            failure.__cause__ = error
            self._finish(failure)

    async def _one_connection(self) -> tuple[str, float]:
        """Connects and stays; returns why that ended, and how long to wait before the next."""
        line = Line(self._receive, self._flush)
        try:
            token = self._token if isinstance(self._token, str) else await self._token()
            carrier = await self._connect(line)
        except OSError as error:  # NotConnected, and what a token function may meet
            return str(error), self._backoff.next()
        try:
            line.carrier, self._line = carrier, line
            self._protocol.connect(token)
            self._flush()
            reason = await line.ended
        finally:
            self._line = None
            carrier.abort()
        return self._after(self._protocol.broken or reason)

    def _after(self, reason: str) -> tuple[str, float]:
        was_ready = self._protocol.ready
        final = self._protocol.connection_lost()
        if final is not None and not self._has_fresh_token_for(final):
            self._finish(final)
            return str(final), 0
        asked_s = self._protocol.reconnect_s
        # One that ended soon may do so again, whoever is to blame: what is sent first on it, for instance.
        if was_ready and self._loop.time() - self._ready_at >= STEADY_S:
            self._backoff.reset()
        return str(final or reason), (asked_s or 0) + self._backoff.next()

    def _has_fresh_token_for(self, final: ClientError) -> bool:
        return isinstance(final, SessionRefused) and final.code == "token_expired" and not isinstance(self._token, str)

    def _finish(self, end: ClientError) -> None:
        """Nothing more will happen: everybody who waits hears why."""
        if self._end is not None:
            return
        self._end = end
        self._protocol.give_up()
        self._watch.end(end)
        for answers in self._asking.values():
            for answer in answers:
                fail(answer, end)
        self._asking.clear()
        self._news.set()
        self._changed()

    # Turns.

    def _receive(self, payloads: Sequence[bytes]) -> None:
        with self._guarded():
            for payload in payloads:
                self._protocol.receive(payload)
        if self._protocol.left and not self._left.done():
            self._left.set_result(None)
        self._flush()

    def _soon(self) -> None:
        if not self._flush_soon:
            self._flush_soon = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Writes what the protocol has to say, tells what happened, and arms the timer."""
        self._flush_soon = False
        protocol = self._protocol
        if self._line is not None:
            self._line.flush(protocol)
        for event in protocol.events():
            self._handle(event)
        for question, answer in protocol.questions.take_answers():
            self._answer(question, answer)
        deadline = protocol.deadline()
        if deadline is not None and (self._timer is None or self._timer_at > deadline):
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self._loop.call_at(deadline, self._due), deadline

    def _due(self) -> None:
        self._timer = None
        with self._guarded():
            self._protocol.poll()
        self._flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What fails inside is a mistake of this library: the connection ends, as one that the server broke."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, the loop would end the connection over it
            self._loop.call_exception_handler({"message": "pyrouter.client failed", "exception": error})
            self._protocol.broken = f"this client failed: {error!r}"

    def _handle(self, event: Event) -> None:
        match event:
            case Message() | Skipped():
                self._incoming.append(event)
                self._news.set()
            case Accepted(sent) | Rejected(sent):
                self._watch.answered(sent)
                self._changed()
            case Receipt(conversation=conversation) | Undelivered(conversation=conversation):
                self._watch.moved(conversation)
            case Connected():
                self._ready_at = self._loop.time()
                self._changed()
            case _:
                pass
        self._tell(event)

    def _answer(self, question: Question, answer: Answer) -> None:
        for waiting in self._asking.pop(question, ()):
            if isinstance(answer, Refused):
                fail(waiting, answer)
            elif not waiting.done():
                waiting.set_result(answer)
        if question.kind == "progress":
            self._watch.moved(question.conversation)

    def _check(self) -> None:
        if self._end is not None:
            raise self._end

    async def _next_change(self) -> None:
        self._check()
        await self._change.wait()
        self._check()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception as error:  # noqa: BLE001  # the program's own mistake must not end its session
                self._loop.call_exception_handler({"message": "on_event failed", "exception": error})
