# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""What the modules leader_election and leader_election_info do with their options."""

from __future__ import annotations

import typing as t

from .._election.etcd import EtcdLease
from .._election.store import Identity, Lease, View, node_of
from .._engine.keeper import this_run, win
from .._engine.process import calling_ansible
from .._engine.warden import facts, keep, noted
from .._model.declaration import ETCD
from .._model.errors import EnsembleError, LeaseError
from .election import LeaseTarget, inherited, lease_target
from .main import token_of

#: seconds that a person waits for a holder to yield: an agent takes at most 45 s to end its run
PATIENCE_S = 60.0
_NOBODY: dict[str, t.Any] = {"leader_id": "", "leader": "", "session": "", "term": 0, "expires_in_s": 0.0}


def lead(params: t.Mapping[str, t.Any], check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Carry out the module's options.

    Raises:
        EnsembleError: `lease_held`, `no_quorum`, `amnesiac` and whatever else the lease was refused with.
    """
    target = lease_target(params)
    for words in target.warnings:
        warn(words)
    identity = _identity(params)
    if check:
        return _checked(target, identity, params["state"])
    if params["state"] == "acquired":
        _warn_of_etcd(target, identity, warn)
        try:
            return _acquired(target, identity, params)
        except LeaseError as error:
            if error.code != "lease_held" or not params["scheduled"]:
                raise
            if params["preempt"]:
                _ask_to_give_way(target, identity, error)
            return _follows(error)
    lease = target.open(identity)
    try:
        if params["state"] == "released":
            view = lease.view()
            if view.session == identity.session:
                lease.adopt(view.token)
                lease.release()
            return {"is_leader": False, **_NOBODY, "fencing_token": [], "quorum": {}, "reason": "released"}
        return _renewed(lease, params)
    finally:
        lease.close()


def _warn_of_etcd(target: LeaseTarget, identity: Identity, warn: t.Callable[[str], None]) -> None:
    """Name the faults of an etcd that is older than their mending."""
    if target.election.backend == ETCD:
        lease = target.open(identity)
        try:
            words = lease.warning() if isinstance(lease, EtcdLease) else None
        finally:
            lease.close()
        if words:
            warn(words)


def look(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Who leads, as the voters say; nothing is written."""
    target = lease_target(params)
    lease = target.open(_identity(params))
    try:
        view = lease.view()
    finally:
        lease.close()
    wanted = vars(view.wanted) if view.wanted is not None else {}
    return {**_seen(view), "fencing_token": list(view.token) if view.session else [], "wanted": wanted}


def _identity(params: t.Mapping[str, t.Any]) -> Identity:
    mine = this_run(params["node_id"])
    return Identity(params["session"], mine.holder) if params.get("session") else mine


def _acquired(target: LeaseTarget, identity: Identity, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    token = inherited(target.name)
    controller = calling_ansible() if params["keep"] else None
    if token is None and controller is not None:
        note = noted(target.name, controller)
        token = token_of(note["token"]) if note is not None else None
    if token is not None:
        return _adopted(target, identity, token)
    scheduled = params["scheduled"]
    patience = (0.0 if scheduled else PATIENCE_S) if params["wait"] is None else params["wait"]

    def opened() -> Lease:
        if not scheduled:
            target.prepare(identity, patience)
        return target.open(identity)

    if controller is not None:
        return _leads(keep(opened, target.name, controller, patience, not scheduled, target.beside))
    lease = opened()
    try:
        win(lease, patience, not scheduled)
        return _leads(facts(lease))
    finally:
        lease.close()


def _adopted(target: LeaseTarget, identity: Identity, token: tuple[int, int]) -> dict[str, t.Any]:
    """Part of a lease that an agent, or an earlier task of this playbook, has won."""
    lease = target.open(identity)
    try:
        lease.adopt(token)
        return _leads(facts(lease))
    finally:
        lease.close()


def _ask_to_give_way(target: LeaseTarget, identity: Identity, error: LeaseError) -> None:
    """A preferred candidate says that it is there; its next attempt says so again."""
    if identity.node < node_of(str(error.details.get("session", ""))):
        lease = target.open(identity)
        try:
            lease.wish(2 * target.election.ttl, False)
        finally:
            lease.close()


def _renewed(lease: Lease, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    token = token_of(params["fencing_token"])
    if token is None:
        raise EnsembleError("to renew a lease its fencing_token is needed. Nothing was changed.", code="bad_option")
    try:
        lease.adopt(token)
        if lease.identity.session != params["session"]:
            raise LeaseError("the lease is that of another session", code="lease_lost")
        lease.renew()
    except LeaseError as error:
        if error.code != "lease_lost":
            raise
        return {"is_leader": False, **_NOBODY, "fencing_token": [], "quorum": {}, "reason": "lost"}
    if params["preempt"] and _gives_way(lease, params["preempt_delay"]):
        lease.release()
        given = {**_NOBODY, "fencing_token": [], "quorum": lease.quorum.as_dict()}
        return {"is_leader": False, **given, "reason": "not_preferred"}
    return _leads(facts(lease))


def _gives_way(lease: Lease, delay: float) -> bool:
    """Whether a lower node has wanted the lease for long enough (rule 11)."""
    wanted = lease.wanted
    if wanted is None or wanted.person or wanted.for_s < delay:
        return False
    return node_of(wanted.session) < lease.identity.node


def _leads(found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "is_leader": True,
        "leader_id": node_of(found["session"]),
        "leader": found["holder"],
        "session": found["session"],
        "term": found["token"][1],
        "fencing_token": found["token"],
        "expires_in_s": found["expires_in_s"],
        "quorum": found["quorum"],
        "reason": "acquired",
    }


def _follows(error: LeaseError) -> dict[str, t.Any]:
    """What a scheduled run gets that finds another leader."""
    details = error.details
    session = str(details.get("session", ""))
    known = {"leader_id": node_of(session), "leader": details.get("holder", ""), "session": session, "term": 0}
    left = round(float(details.get("expires_in", 0.0)), 3)
    rest = {"fencing_token": [], "expires_in_s": left, "quorum": {}, "reason": "held"}
    return {"is_leader": False, **known, **rest}


def _seen(view: View) -> dict[str, t.Any]:
    return {
        "leader_id": node_of(view.session),
        "leader": view.holder,
        "session": view.session,
        "term": view.token[1],
        "expires_in_s": round(view.expires_in, 3),
        "quorum": view.quorum.as_dict(),
    }


def _checked(target: LeaseTarget, identity: Identity, state: str) -> dict[str, t.Any]:
    """What a run would get; nothing is written."""
    lease = target.open(identity)
    try:
        view = lease.view()
    finally:
        lease.close()
    free = view.session in ("", identity.session)
    leads = free and state != "released"
    reason = "released" if state == "released" else "acquired" if free else "held"
    return {"is_leader": leads, **_seen(view), "fencing_token": [], "reason": reason}
