"""`turnkeeper doctor`: is everything there that a turn needs? Each line says ok, or what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType, PendingActivityState, TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from turnkeeper.builds import FRESH, Builds, read_builds
from turnkeeper.cli.endings import Exit
from turnkeeper.cli.figures import ago, span
from turnkeeper.cli.json_lines import write_entry
from turnkeeper.cli.keeper import Keeper
from turnkeeper.cli.service import Connector, Service
from turnkeeper.errors import ServiceUnavailableError, TurnkeeperError
from turnkeeper.messages import WORKFLOW_TASK_QUEUE, EndpointSnapshot, endpoint_workflow_id
from turnkeeper.search_attributes import ALL

CHECK_TIMEOUT: Final = 15.0
"""Seconds for one question. A client call retries an unavailable server for 10 s by itself."""

ANSWER: Final = 5.0
"""Seconds for a live worker to answer a query. It takes milliseconds, and a second more after a worker's death."""

_QUEUES: Final = (
    ("workflows", TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
    ("activities", TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `text` says what was found, and what to do when that is not ok."""

    check: str
    ok: bool
    text: str


async def doctor(connector: Connector, state_dir: Path, *, as_json: bool) -> Exit:
    """Every check, printed as it is known. 0 when all are ok, 1 otherwise."""
    healthy = True
    async for check in _checks(connector, state_dir):
        healthy = healthy and check.ok
        if as_json:
            write_entry(sys.stdout, {"event": "check", **asdict(check)})
        else:
            sys.stdout.write(f"{'ok ' if check.ok else 'BAD'}  {check.check}: {check.text}\n")
            sys.stdout.flush()
    return Exit.OK if healthy else Exit.ENDED_OTHERWISE


async def _checks(connector: Connector, state_dir: Path) -> AsyncIterator[Check]:
    try:
        service = await connector(state_dir)
    except TurnkeeperError as error:
        yield Check("temporal", ok=False, text=str(error))
        return
    yield Check("temporal", ok=True, text=f"reached {service.where}, namespace {service.temporal.namespace!r}")
    yield await _search_attributes(service.temporal)
    try:
        names = await service.endpoints()
    except RPCError as error:
        names = []
        nothing = f"cannot be listed: Temporal answered {error.status.name}"
    else:
        nothing = "none is served; start a worker that is configured for one"
    seen = dict(zip(names, await asyncio.gather(*(_ask(service.keeper, name) for name in names)), strict=True))
    answered = any(isinstance(snapshot, EndpointSnapshot) for snapshot in seen.values()) or not seen
    builds = await _builds(service.temporal)
    for kind, queue in _QUEUES:
        yield await _worker(service, kind, queue, answered=answered or builds.trouble is not None)
    if builds.trouble is not None:
        yield Check("worker version", ok=False, text=builds.trouble)
    elif builds.current is not None:
        yield Check("worker version", ok=True, text=f"build {builds.current} is current; up: {', '.join(builds.up)}")
    if not names:
        yield Check("endpoints", ok=False, text=nothing)
    for name, snapshot in seen.items():
        yield await _endpoint(service.temporal, name, snapshot)


async def _ask(keeper: Keeper, name: str) -> EndpointSnapshot | TurnkeeperError:
    """An endpoint's health. Only a live worker gives it: what a dead or a frozen one leaves behind does not."""
    try:
        async with asyncio.timeout(ANSWER):
            return await keeper.endpoint(name)
    except TimeoutError:
        return ServiceUnavailableError(f"not known: no worker answered within {ANSWER:g} s")
    except TurnkeeperError as error:
        return error


async def _search_attributes(client: Client) -> Check:
    what = "search attributes"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            request = ListSearchAttributesRequest(namespace=client.namespace)
            present = (await client.operator_service.list_search_attributes(request)).custom_attributes
    except (RPCError, TimeoutError) as error:
        reason = error.status.name if isinstance(error, RPCError) else "nothing"
        return Check(what, ok=False, text=f"cannot be read: Temporal answered {reason}; ask whoever runs it")
    missing = [key.name for key in ALL if key.name not in present]
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    wrong = [key.name for key in ALL if present.get(key.name, keyword) != keyword]
    if missing:
        text = f"missing: {', '.join(missing)}; a worker adds them when it starts, if it may; else add them as Keyword"
        return Check(what, ok=False, text=text)
    if wrong:
        return Check(what, ok=False, text=f"not of type Keyword: {', '.join(wrong)}; remove and add them again")
    return Check(what, ok=True, text=f"all {len(ALL)} are there")


async def _builds(client: Client) -> Builds:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await read_builds(client)
    except (RPCError, TimeoutError):
        return Builds()  # not known, and said by the checks of the workers


async def _worker(service: Service, kind: str, queue: TaskQueueType.ValueType, *, answered: bool) -> Check:
    """Temporal lists who asks for work; `answered`: a worker was asked for something, and did answer.

    One process serves both kinds, so that an answer of either is one of both.
    """
    what, client = f"worker for {kind}", service.temporal
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            answer = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=WORKFLOW_TASK_QUEUE),
                    task_queue_type=queue,
                )
            )
    except (RPCError, TimeoutError) as error:
        reason = error.status.name if isinstance(error, RPCError) else "nothing"
        return Check(what, ok=False, text=f"cannot be asked for: Temporal answered {reason}")
    now = datetime.now(UTC)
    seen = [poller.last_access_time.ToDatetime(tzinfo=UTC) for poller in answer.pollers]
    fresh = [moment for moment in seen if now - moment <= FRESH]
    there = f"{len(fresh)} on task queue {WORKFLOW_TASK_QUEUE!r}, last seen {ago(max(fresh), now)}" if fresh else ""
    if fresh and answered:
        return Check(what, ok=True, text=there)
    start = "`turnkeeper dev` starts it again; see its terminal" if service.embedded else "start `python worker.py`"
    if fresh:
        what_to_do = (
            "`turnkeeper dev` starts a dead one again; stop and start it if the worker hangs"
            if service.embedded
            else "start `python worker.py` again, and end the one that hangs"
        )
        gone = f"{there}, and none answers: it died just now, or hangs; {what_to_do}"
        return Check(what, ok=False, text=gone)
    last = f", the last was seen {ago(max(seen), now)}" if seen else ""
    return Check(what, ok=False, text=f"none on task queue {WORKFLOW_TASK_QUEUE!r}{last}; {start}")


async def _endpoint(client: Client, name: str, snapshot: EndpointSnapshot | TurnkeeperError) -> Check:
    what = f"endpoint {name}"
    if isinstance(snapshot, TurnkeeperError):
        return Check(what, ok=False, text=snapshot.message)
    found = judge(what, snapshot, datetime.now(UTC))
    if found.ok and not await _relay_runs(client, name):
        text = "no worker runs its relay right now; start one that reaches it, or look again in some seconds"
        return Check(what, ok=False, text=text)
    return found


async def _relay_runs(client: Client, name: str) -> bool:
    """What the relay said last stays, when its worker dies. Temporal misses its heartbeats after five seconds."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            described = await client.get_workflow_handle(endpoint_workflow_id(name)).describe()
    except (RPCError, TimeoutError):
        return True  # not known, and Temporal's silence is another check's business
    running = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return any(activity.state == running for activity in described.raw_description.pending_activities)


def judge(what: str, snapshot: EndpointSnapshot, now: datetime) -> Check:
    """The relay's health as a finding."""
    relay = snapshot.relay
    if relay is None:
        since = span((now - snapshot.since).total_seconds())
        return Check(what, ok=False, text=f"its relay has said nothing for {since}; turns settle by looking, later")
    version = f" to OpenCode {relay.version}" if relay.version else ""
    if relay.attached:
        text = f"event stream attached{version}, {ago(relay.at, now)}{_places(snapshot)}"
        return Check(what, ok=True, text=text)
    why = f" {relay.failure.message} {relay.failure.next_step}".rstrip() if relay.failure else ""
    lost = f"event stream lost {ago(relay.at, now)}, attempt {relay.attempt}; check the provider server.{why}"
    return Check(what, ok=False, text=lost)


def _places(snapshot: EndpointSnapshot) -> str:
    places = snapshot.places
    if places is None or places.limit is None:
        return ""
    return f"; {places.held} of {places.limit} places taken, {places.waiting} threads wait for one"
