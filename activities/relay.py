"""`relay` (placeholder)."""
import asyncio
from temporalio import activity
from turnkeeper.observations import RelayRequest
class RelayActivities:
    def __init__(self, endpoints, client): pass
    @activity.defn(name="relay")
    async def relay(self, request: RelayRequest) -> None:
        while True:
            activity.heartbeat(); await asyncio.sleep(1)
