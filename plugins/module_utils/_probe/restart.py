# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Starting a unit of a member anew, for the latest leader only: the same record of tokens as the roles' tasks keep."""

from __future__ import annotations

import time
import typing as t

from .._host.fence import MEMBER_DIR, Token, fenced
from .._model.errors import EnsembleError
from .._model.identity import RESOURCE_NAME
from .commands import last_line, run
from .member import Fields, Refusal, late, seconds_of, sign
from .units import UNIT_NAME, Outcome, Properties, outcome, show

#: seconds to wait for another one that keeps a token here, and for one command
LOCK_TIMEOUT, _COMMAND_TIMEOUT = 10.0, 15.0
_USUAL, _LONGEST = 60.0, 600.0
#: seconds between two looks at the unit, growing up to the second number
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


def restart_unit(request: Fields, state: str) -> dict[str, t.Any]:
    """Restart a unit and wait until it is active or failed.

    Args:
        state: folder of the tokens; empty means the one of module `member_fence`.

    Raises:
        Refusal: `stale_token`, `busy`, `invalid_request`; nothing was changed.
    """
    begun = time.monotonic()
    seconds = seconds_of(request.get("timeout"), _USUAL, _LONGEST)
    unit, (resource, token) = _checked(request), whose(request)
    try:
        # held until the manager has queued the job: no restart of a former leader begins after its successor was here
        with fenced(state or MEMBER_DIR, resource, token, 0, min(LOCK_TIMEOUT, seconds)):
            patience = min(_COMMAND_TIMEOUT, seconds)
            run(["systemctl", "reset-failed", "--", unit], patience)  # lifts the limit of starts, if it is hit
            ran = run(["systemctl", "restart", "--no-block", "--", unit], patience)
    except EnsembleError as error:
        raise Refusal(error.code, error.msg, error.details) from error
    ok, detail, age = (
        Outcome(False, f"{ran.fault}: {last_line(ran.out)}") if ran.fault else _await(unit, begun + seconds)
    )
    took = round(time.monotonic() - begun, 3)
    return {"signs": [{"sign": "unit", "name": unit, **sign(ok, detail, age), "seconds": took}]}


def _checked(request: Fields) -> str:
    unit = request.get("unit")
    if not isinstance(unit, str) or not UNIT_NAME.fullmatch(unit):
        raise Refusal("invalid_request", f"unit: found {unit!r:.100}, expected a systemd unit's name")
    return unit


def whose(request: Fields) -> tuple[str, Token]:
    """The resource for which something is done, and the token of its leader.

    Raises:
        Refusal: `invalid_request`.
    """
    resource, token = request.get("resource"), request.get("token")
    if not isinstance(resource, str) or not RESOURCE_NAME.fullmatch(resource):
        raise Refusal("invalid_request", f"resource: found {resource!r:.100}, expected a resource's name")
    numbers = token if isinstance(token, list) and len(token) == 2 else [None]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        raise Refusal("invalid_request", f"token: found {token!r:.100}, expected [epoch, term]")
    return resource, t.cast(Token, tuple(numbers))


def _settled(unit: Properties) -> bool:
    """Whether nothing is under way any more; what waits to be started again by itself is `activating`."""
    return unit.get("Job", "0") in ("", "0") and unit.get("ActiveState") in ("active", "failed", "inactive")


def _await(unit: str, deadline: float) -> Outcome:
    """Look until the unit has settled."""
    begun, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        found = show([unit], min(_COMMAND_TIMEOUT, max(0.1, deadline - time.monotonic())))
        seen = Outcome(None, found) if isinstance(found, str) else outcome(found[unit])
        if not isinstance(found, str) and _settled(found[unit]):
            return seen
        if time.monotonic() + pause > deadline:
            return Outcome(False, f"{late(deadline - begun)}; last seen: {seen.detail}", seen.age)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)
