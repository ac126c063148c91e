"""Plain HTTP: the pages, and sockets that are handed over to uvicorn's protocol, with bounds of our own (I6)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httpx
import pytest
from prometheus_client.registry import Collector

from pyrouter import http
from pyrouter.http import HttpHandoff, application
from pyrouter.metrics import StatsCollector


class FakeRouter:
    failure: str | None = None
    unready: str | None = None
    info: Mapping[str, str] = {"version": "9.8", "durability": "fsync"}

    def stats(self) -> Mapping[str, int]:
        return {"accepted_total": 7, "connections": 3}

    collectors: Sequence[Collector] = ()

    def turn_times(self) -> tuple[int, Sequence[tuple[int, int]]]:
        return 5_000_000, [(1_024, 2), (32_768, 3), (1_048_576, 0), (2_097_152, 1)]


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


class TestPages:
    @pytest.fixture
    async def client(self, router: FakeRouter) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(application(router))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client

    async def test_health_is_about_failure_only(self, client: httpx.AsyncClient, router: FakeRouter) -> None:
        router.unready = "stopping"
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\n")
        router.failure = "disk"
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "disk\n")

    async def test_readiness_says_why_not(self, client: httpx.AsyncClient, router: FakeRouter) -> None:
        assert (await client.get("/readyz")).status_code == 200
        router.unready = "stopping"
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "stopping\n")
        assert answer.headers["cache-control"] == "no-store"

    async def test_metrics_name_version_durability_counters_and_gauges(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/metrics")
        lines = answer.text.splitlines()
        assert 'pyrouter_info{durability="fsync",version="9.8"} 1.0' in lines
        assert "pyrouter_accepted_total 7.0" in lines
        assert "# TYPE pyrouter_connections gauge" in lines
        assert "pyrouter_connections 3.0" in lines

    async def test_turns_of_the_loop_are_a_histogram_of_seconds(self, client: httpx.AsyncClient) -> None:
        lines = (await client.get("/metrics")).text.splitlines()
        assert [line for line in lines if line.startswith("pyrouter_loop_turn_seconds_bucket")] == [
            'pyrouter_loop_turn_seconds_bucket{le="3.2768e-05"} 5.0',
            'pyrouter_loop_turn_seconds_bucket{le="0.001048576"} 5.0',
            'pyrouter_loop_turn_seconds_bucket{le="0.002097152"} 6.0',
            'pyrouter_loop_turn_seconds_bucket{le="+Inf"} 6.0',
        ]
        assert "pyrouter_loop_turn_seconds_count 6.0" in lines
        assert "pyrouter_loop_turn_seconds_sum 0.005" in lines

    async def test_the_page_says_what_this_is_and_trusts_no_header(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/", headers={"host": '"><script>'})
        assert "pyrouter 9.8" in answer.text
        assert "<script>" not in answer.text

    async def test_anything_else_is_not_found(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405


def test_an_embedder_can_scrape_a_router_through_its_own_registry(router: FakeRouter) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(StatsCollector(router))
    assert b"pyrouter_accepted_total 7.0" in generate_latest(registry)


class Sniffer(asyncio.BufferedProtocol):
    """Stands in for a connection of the core: reads something, finds that it is HTTP, hands over."""

    def __init__(self, handoff: HttpHandoff) -> None:
        self.handoff = handoff
        self.buffer = bytearray(7)  # so small that most of a request comes later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.handoff(self.transport, bytes(self.buffer[:nbytes]))


@asynccontextmanager
async def served(router: FakeRouter) -> AsyncIterator[tuple[HttpHandoff, int]]:
    handoff = HttpHandoff(application(router))
    server = await asyncio.get_running_loop().create_server(lambda: Sniffer(handoff), "127.0.0.1", 0)
    async with server:
        yield handoff, server.sockets[0].getsockname()[1]
        await handoff.close()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


class TestHandoff:
    async def test_a_request_is_answered_whole_wherever_it_was_cut(self, router: FakeRouter) -> None:
        async with served(router) as (_, port):
            answer = await ask(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b"ok\n"

    async def test_a_connection_is_kept_for_the_next_request(self, router: FakeRouter) -> None:
        async with served(router) as (handoff, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(3):
                assert (await client.get("/healthz")).text == "ok\n"
            assert handoff.connections == 1

    async def test_junk_gets_a_400(self, router: FakeRouter) -> None:
        async with served(router) as (_, port):
            assert (await ask(port, b"\x16\x03\x01 no")).startswith(b"HTTP/1.1 400 ")

    async def test_a_head_without_end_is_cut_off(self, router: FakeRouter) -> None:
        async with served(router) as (_, port):
            endless = b"GET / HTTP/1.1\r\n" + b"x-filler: " + b"y" * (1 << 20)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(endless)
            assert (await reader.read(32)).startswith(b"HTTP/1.1 431 ")
            writer.close()

    async def test_a_client_that_never_finishes_its_head_is_dropped(
        self, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http, "HEAD_S", 0.01)
        async with served(router) as (handoff, port):
            assert await ask(port, b"GET /healthz HTTP/1.1\r\n") == b""
            assert handoff.connections == 0

    async def test_closing_ends_idle_connections_and_answers_what_was_asked(self, router: FakeRouter) -> None:
        async with served(router) as (handoff, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"ok\n")
            await handoff.close()
            assert await reader.read() == b""
            writer.close()
