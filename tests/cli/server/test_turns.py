"""The queue: one at a time, clients in turn, nobody forgotten when a request is cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest

from gemma_lab.cli.server.errors import ApiError
from gemma_lab.cli.server.turns import Turns


def run(work):
    return asyncio.run(asyncio.wait_for(work, 30))


def test_clients_get_their_turns_in_order():
    async def work():
        turns, order = Turns(limit=20), []

        async def request(name):
            end = await turns.take(name[0])
            order.append(name)
            await asyncio.sleep(0)
            end()
            end()  # a second call changes nothing

        first = await turns.take("z")
        tasks = []
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            tasks.append(asyncio.create_task(request(name)))
            await asyncio.sleep(0)
        assert turns.waiting == 6
        first()
        await asyncio.gather(*tasks)
        assert not turns.busy
        return order

    assert run(work()) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_too_many_are_refused():
    async def work():
        turns = Turns(limit=1)
        end = await turns.take("a")
        waiting = asyncio.create_task(turns.take("a"))
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as caught:
            await turns.take("b")
        assert caught.value.status == 429
        assert "retry-after" in caught.value.headers
        end()
        (await waiting)()
        (await turns.take("b"))()

    run(work())


def test_never_two_at_once_and_never_stuck_whatever_is_cancelled():
    async def work(seed):
        draw, turns, having, most = random.Random(seed), Turns(limit=1000), 0, 0

        async def request(client):
            nonlocal having, most
            end = await turns.take(client)
            having += 1
            most = max(most, having)
            try:
                for _ in range(draw.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                having -= 1
                end()

        tasks = [asyncio.create_task(request(str(draw.randrange(4)))) for _ in range(60)]
        for _ in range(80):
            draw.choice(tasks).cancel() if draw.random() < 0.4 else None
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (most, having, turns.busy, turns.waiting) == (1, 0, False, 0)
        (await turns.take("last"))()

    for seed in range(60):
        run(work(seed))
