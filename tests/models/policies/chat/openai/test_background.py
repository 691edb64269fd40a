"""The event loop beside synchronous callers: what is still open when it ends."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest

from models.policies.chat.openai.background import Background


async def started(tasks: Any) -> None:
    """Leave a task running, as a connection that is being closed."""
    tasks.append(asyncio.create_task(asyncio.sleep(60)))
    await asyncio.sleep(0)


def test_what_is_still_open_is_ended_with_the_loop() -> None:
    background = Background("test")
    tasks: list[Any] = []
    background.run(started(tasks))

    background.close()

    assert tasks[0].cancelled()


def test_a_caller_who_still_waits_is_told() -> None:
    # Arrange
    background, entered, outcome = Background("test"), threading.Event(), []

    async def wait() -> None:
        entered.set()
        await asyncio.sleep(60)

    def call() -> None:
        with pytest.raises(CancelledError) as told:
            background.run(wait())
        outcome.append(told)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    entered.wait(10)

    # Act
    background.close()

    # Assert
    caller.join(10)
    assert outcome
