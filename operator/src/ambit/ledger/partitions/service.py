"""A ledger of several writers over HTTP: each answers for the partitions that it writes, and knows where the rest is.

A request names its partition in the header `x-ambit-ledger-partition`. One that names none, or one that is written
elsewhere, is answered 421 with the table of writers: nothing of it was done.
"""

from collections.abc import Callable
from typing import NoReturn

import msgspec
from aiohttp import web

from ambit.ledger.auth import Components
from ambit.ledger.dispatch import Dispatcher
from ambit.ledger.events import Events
from ambit.ledger.partitions.replica import Replica
from ambit.ledger.partitions.table import EVENTS_OF_ONE, PARTITION_HEADER, Keys, Routes
from ambit.ledger.paths import kind_of
from ambit.ledger.service import Service, refuse
from ambit.ledger.writer import LedgerStopped

_keys = msgspec.json.Decoder(Keys)


class PartitionedService(Service):
    """The service of one ledger among several: `GET /v1/partitions` and `POST /v1/routes` besides."""

    def __init__(self, replica: Replica, components: Components, monotonic_s: Callable[[], float]) -> None:
        super().__init__(Dispatcher(), lambda: replica.events, components, monotonic_s)
        self._replica = replica

    def app(self) -> web.Application:
        app = super().app()
        app.add_routes([web.get("/v1/partitions", self._partitions), web.post("/v1/routes", self._routes)])
        return app

    def dispatcher_of(self, request: web.Request) -> Dispatcher:
        named = request.headers.get(PARTITION_HEADER, "")
        dispatcher = self._replica.dispatcher(int(named)) if named.isdecimal() else None
        if dispatcher is None:
            self._misdirected()
        return dispatcher

    def events_for(self, request: web.Request) -> Events:
        if EVENTS_OF_ONE not in request.query:
            self._misdirected()
        return self._replica.events

    def _misdirected(self) -> NoReturn:
        raise web.HTTPMisdirectedRequest(body=msgspec.json.encode(self._replica.table), content_type="application/json")

    async def _partitions(self, request: web.Request) -> web.Response:
        await self.component_of(request)
        if not self._replica.is_current():
            refuse(web.HTTPServiceUnavailable, "this ledger does not know how its store stands")
        return web.Response(body=msgspec.json.encode(self._replica.table), content_type="application/json")

    async def _routes(self, request: web.Request) -> web.Response:
        component = await self.component_of(request)
        try:
            keys = _keys.decode(await request.read())
        except msgspec.MsgspecError as error:
            refuse(web.HTTPBadRequest, f"the body names nothing to be found: {error}")
        routes = self._found(component, keys)
        if None in (*routes.paths, *routes.holds):
            try:
                await self._replica.fresh()  # only now does it mean something that nothing was found
                routes = await self._with_records(keys, self._found(component, keys))
            except LedgerStopped as error:
                refuse(web.HTTPServiceUnavailable, str(error))
        return web.Response(body=msgspec.json.encode(routes), content_type="application/json")

    async def _with_records(self, keys: Keys, routes: Routes) -> Routes:
        paths = list(routes.paths)
        for number, path in enumerate(keys.paths):
            if paths[number] is None and kind_of(path) == "session":
                paths[number] = await self._replica.recorded(path)
        return Routes(tuple(paths), routes.holds)

    def _found(self, component: str, keys: Keys) -> Routes:
        forest = self._replica.forest
        return Routes(
            tuple(forest.place_of(path) for path in keys.paths),
            tuple(forest.place_of_hold(component, hold_id) for hold_id in keys.holds),
        )
