# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""Having a scheduler take a node of it back into service, for the latest leader only."""

from __future__ import annotations

import typing as t

from .._host.fence import MEMBER_DIR, fenced
from .._model.errors import EnsembleError
from .._model.identity import HOST_NAME
from .commands import last_line, run
from .member import Fields, Refusal, seconds_of
from .restart import LOCK_TIMEOUT, whose

_USUAL, _LONGEST = 15.0, 60.0
#: engine -> what it is told, before the node's name
_COMMANDS = {"slurm": ("scontrol", "update", "state=RESUME", "nodename=")}


def resume_node(request: Fields, state: str) -> dict[str, t.Any]:
    """Tell the scheduler. It has an answer of its own to each node, which the next look finds.

    Args:
        state: folder of the tokens, as of `restart_unit`.

    Raises:
        Refusal: `refused`, `stale_token`, `busy`, `invalid_request`; nothing was changed.
    """
    seconds = seconds_of(request.get("timeout"), _USUAL, _LONGEST)
    engine, node = request.get("engine"), request.get("node")
    resource, token = whose(request)
    if not isinstance(engine, str) or engine not in _COMMANDS:
        raise Refusal("invalid_request", f"engine: found {engine!r:.100}, expected one of {', '.join(_COMMANDS)}")
    if not isinstance(node, str) or not HOST_NAME.fullmatch(node):
        raise Refusal("invalid_request", f"node: found {node!r:.100}, expected a host's name")
    command = _COMMANDS[engine]
    try:
        with fenced(state or MEMBER_DIR, resource, token, 0, min(LOCK_TIMEOUT, seconds)):
            ran = run([*command[:-1], command[-1] + node], seconds)
    except EnsembleError as error:
        raise Refusal(error.code, error.msg, error.details) from error
    if ran.fault:
        raise Refusal("refused", f"{command[0]} {ran.fault}: {last_line(ran.out)}")
    return {"resumed": node}
