"""How another process looks into a hub and changes its faults: /_demo/stats and /_demo/faults.

These calls are not part of the Hub's protocol; they meet no fault and are not journalled.
"""

from __future__ import annotations

from asyncdl.demo.exchange import Answer, Call, hub_error, json_answer
from asyncdl.demo.faults import FaultBook, faults_from_json, faults_to_json
from asyncdl.demo.state import HubState


async def stats(state: HubState, _: Call) -> Answer:
    return json_answer({origin: totals.to_json() for origin, totals in state.journal.totals.items()})


async def faults(state: HubState, call: Call) -> Answer:
    """Replaces all rules by the JSON list in the body; their counts begin anew."""
    try:
        rules = faults_from_json(await call.request.json())
    except (TypeError, ValueError) as error:
        raise hub_error(400, None, str(error)) from error
    state.faults = FaultBook(rules)
    return json_answer(faults_to_json(rules))
