# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""The page: one HTML file that needs nothing else, can be read without its script, saved, printed and sent."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse

from .document import Given
from .marks import mark_of, symbols
from .markup import text
from .picture import picture, shares
from .sections import banner, facts, jobs, members, repairs, timeline
from .style import STYLE
from .text import counted, day_and_time

#: fetches the page again, tells a changed verdict to those who listen, and says so when no answer comes
SCRIPT = """(() => {
const every = Math.max(2, +document.documentElement.dataset.every) * 1000, say = document.getElementById('say');
let got = performance.now();
const ask = async () => {
  try {
    const answer = await fetch(location.pathname, {cache: 'no-store', signal: AbortSignal.timeout(every + 5000)});
    if (!answer.ok) throw 0;
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const now = document.querySelector('main');
    const open = [...now.querySelectorAll('details[open]')].map(each => each.id), at = document.activeElement;
    const id = now.contains(at) ? at.id : '';
    if (next.title !== document.title) say.textContent = document.title = next.title;
    now.replaceWith(document.adoptNode(next.querySelector('main')));
    open.forEach(each => document.getElementById(each)?.setAttribute('open', ''));
    if (id) document.getElementById(id)?.focus({preventScroll: true});
    got = performance.now();
    document.body.classList.remove('old');
  } catch { document.body.classList.add('old'); }
  setTimeout(ask, every);
};
setInterval(() => {
  const age = document.getElementById('age');
  const s = +age.dataset.age + Math.round((performance.now() - got) / 1000);
  const words = s < 120 ? s + ' s' : s < 7200 ? Math.floor(s / 60) + ' min' : Math.floor(s / 3600) + ' h';
  age.textContent = words + ' ago';
}, 1000);
if (location.protocol.startsWith('http')) setTimeout(ask, every);
})();"""


def _source(of: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(of.encode()).digest()).decode() + "'"


#: nothing is fetched but this page itself; only this style and this script, known by their digests, take effect
POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
#: seconds between two requests for the page, where the document does not tell how often is looked
_REFRESH = 10.0


def page(document: Given, age_s: float) -> str:
    """The page.

    Args:
        age_s: seconds since the look.
    """
    name, verdict = text(document["resource"]), mark_of(document["verdict"])
    every = max(2.0, float(document["interval_s"] or _REFRESH))
    found = document["hypervisors"]
    there = f"{counted(len(document['members']), 'member')} on {counted(len(found), 'hypervisor')}"
    return f"""<!DOCTYPE html>
<html lang="en" data-every="{every:g}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<noscript><meta http-equiv="refresh" content="{every:.0f}"></noscript>
<title>{name}: {verdict.word}</title>
<link rel="icon" href="{_favicon(document)}">
<style>{STYLE}</style>
</head>
<body>
{symbols()}
<p id="say" class="sr" role="status"></p>
<a class="skip" href="#members">Skip to the members</a>
<p class="stale" role="alert">No answer from the leader any more: this is what it showed last.</p>
<main>
<header class="top"><p class="brand">ensemble</p><h1>{name}</h1><p class="there">{there}</p></header>
{banner(document)}
{facts(document, age_s)}
<section id="pool"><h2>Where it runs</h2>{shares(document)}{picture(document)}</section>
<section id="members"><h2>Members</h2>{members(document)}</section>
<div class="columns"><div>{jobs(document)}{repairs(document)}</div>{timeline(document)}</div>
<footer><p>Made from the look at {text(day_and_time(document["at"]))}. <span>The same for programs:
<a href="status.json">status.json</a>, <a href="metrics">metrics</a>.</span></p></footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _favicon(document: Given) -> str:
    mark = mark_of(document["verdict"])
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g fill="{mark.light}">{mark.shape}</g>'
        f'<path d="{mark.sign}" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round"/></svg>'
    )
    return "data:image/svg+xml," + urllib.parse.quote(drawn, safe="")
