"""What a complete deployment takes out of its group, while others change it too."""

from __future__ import annotations

import asyncio

from arm.conftest import GROUP, World
from arm.test_deployments import TEST, body, deploy, widget


async def test_what_comes_again_after_it_was_deleted_is_another_clients(arm: World) -> None:
    """Somebody makes it anew at once, whenever it goes: the deployment has deleted it, and ends."""
    go = f"{TEST}/widgets/go"
    await arm.made(go)
    made: list[asyncio.Task[object]] = []
    loop = asyncio.get_running_loop()

    def anew(keys: object) -> None:
        if go.lower() in keys and arm.store.get(go) is None:  # type: ignore[operator]
            loop.call_soon_threadsafe(lambda: made.append(asyncio.create_task(arm.made(go))))

    arm.store.listen(anew)
    async with asyncio.timeout(10):
        ended = await deploy(arm, "complete", body([widget("stay")], mode="Complete"))
    assert ended["properties"]["provisioningState"] == "Succeeded", ended
    assert len(await asyncio.gather(*made)) == 1
    left = {r.rid.name for r in arm.store.list(under=f"{GROUP}/providers/Microsoft.Test")}
    assert left == {"stay", "go"}
