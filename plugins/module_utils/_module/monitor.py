# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the module distributed_resource_monitor does with its options."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._election.store import View, node_of
from .._engine.oversee import Question, oversee
from .._engine.repair import Mended
from .._engine.report import hypervisor_states
from .._host.files import write_file
from .._model.declaration import Resource
from .._model.errors import EnsembleError
from .._plan.repair import Repairs
from .._status.document import build
from .._status.page import page
from .._status.table import lines
from .._status.text import iso
from .main import connect_of, target_of, token_of


def monitor(module: AnsibleModule) -> dict[str, t.Any]:
    """Look, repair if asked for, and return what the documentation promises."""
    params = module.params
    target = target_of(params)
    resource = t.cast(Resource, target.resource)
    lost = tuple(params["lost"])
    _refuse_unknown(resource, lost)
    token = token_of(params["fencing_token"])
    found = oversee(Question(resource, token, params["repair"], lost, module.check_mode), connect_of(target))
    result = {
        **found.health.as_dict(),
        "hypervisors": hypervisor_states(resource, found.observation),
        "leader": leader_facts(found.leader),
        "jobs": [job.as_dict() for job in found.health.jobs or ()],
        "seconds": round(found.seconds, 3),
        "changed": False,
    }
    document = build(
        found.health.as_dict(),
        iso(time.time()),
        leader=result["leader"] or None,
        hypervisors=result["hypervisors"],
        events=params["events"],
        repairs=[{**repair, "at": iso(repair["at"])} for repair in found.observation.record.repairs],
        look_s=found.seconds,
        interval_s=resource.monitor.interval,
    )
    result["table"] = list(lines(document))
    if params["page"] and not module.check_mode:
        _write(params["page"], page(document, 0.0))
    if found.repairs is not None:
        result.update(_repaired(found.repairs, found.mended))
    return result


def _write(path: str, text: str) -> None:
    """The page is not what a run changes, so it never counts as changed.

    Raises:
        EnsembleError: `bad_option`, it cannot be written there.
    """
    try:
        write_file(path, text.encode("utf-8", "replace"), 0o644, durable=False)
    except OSError as error:
        raise EnsembleError(
            f"page: {path} cannot be written: {error.strerror}. Name a file in a folder that is there.",
            code="bad_option",
        ) from error


def leader_facts(view: View) -> dict[str, t.Any]:
    """Who leads, as status documents and modules tell it."""
    if not view.session:
        return {}
    return {"node": node_of(view.session), "holder": view.holder, "token": list(view.token)}


def _refuse_unknown(resource: Resource, lost: t.Sequence[str]) -> None:
    known = [hv.name for hv in resource.pool]
    strange = [name for name in lost if name not in known]
    if strange:
        raise EnsembleError(
            f"lost: found {', '.join(strange)}, expected hypervisors of the pool ({', '.join(known)}). "
            "Nothing was changed.",
            code="bad_option",
        )


def _repaired(repairs: Repairs, mended: Mended | None) -> dict[str, t.Any]:
    words = "".join(f"{step.member}: {step.action} ({step.reason})\n" for step in repairs.steps)
    result: dict[str, t.Any] = {
        "changed": bool(repairs.steps),
        "actions": [step.public() for step in repairs.steps],
        "exhausted": dict(repairs.exhausted),
        "diff": {"before": "", "after": words},
        "pending": [],
        "fresh": [],
    }
    if mended is not None:
        result.update(pending=list(mended.pending), fresh=list(mended.fresh), failures=mended.failures)
        if mended.failures:
            raise EnsembleError(
                "repairs that could not be made: "
                + "; ".join(f"{member}: {why}" for member, why in mended.failures.items())
                + ". What was done stays; run again.",
                code="repair_failed",
                **result,
            )
    return result
