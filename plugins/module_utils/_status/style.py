# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""How the page looks: from 320 pixels to a wall, light, dark and on paper."""

from __future__ import annotations

from .marks import MARKS

_LIGHT = {
    "page": "#f4f6f9",
    "card": "#ffffff",
    "soft": "#eef1f5",
    "line": "#d7dde5",
    "ink": "#17202c",
    "dim": "#566273",
    "link": "#1c55bd",
    "gold": "#a36a00",
    "shade": "0 1px 2px rgb(20 30 50/.06), 0 6px 20px -8px rgb(20 30 50/.14)",
}
_DARK = {
    "page": "#0d1218",
    "card": "#151c25",
    "soft": "#1d2631",
    "line": "#2c3744",
    "ink": "#e8edf3",
    "dim": "#9fadbd",
    "link": "#8ab6ff",
    "gold": "#ffd166",
    "shade": "none",
}
#: of the strip that tells who led; they need not mean anything
_LEADERS = (
    ("#3a6fd8", "#6f9dff"),
    ("#0f8a7e", "#3cc4b4"),
    ("#a4508b", "#dd8cc6"),
    ("#7a6a1f", "#c9b65a"),
    ("#6d5bd0", "#a797ff"),
)


def _variables(dark: bool) -> str:
    found = dict(_DARK if dark else _LIGHT)
    found.update((mark.verdict, mark.dark if dark else mark.light) for mark in MARKS.values())
    found.update((f"l{index}", pair[dark]) for index, pair in enumerate(_LEADERS))
    return "".join(f"--{name}:{value};" for name, value in found.items())


def _rules() -> str:
    verdicts = "".join(f".v-{verdict}{{--v:var(--{verdict})}}" for verdict in MARKS)
    return verdicts + "".join(f".l{index}{{--v:var(--l{index})}}" for index in range(len(_LEADERS)))


_BASE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Cantarell,
"Noto Sans","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:1560px;margin:0 auto;padding:clamp(12px,2.4vw,32px)}
h1,h2,h3,h4,p,dl,dd,ul,ol{margin:0;padding:0}ul,ol{list-style:none}
h2{font-size:1.06rem;letter-spacing:-.005em;margin:0 0 12px}
a{color:var(--link)}code{font:.92em ui-monospace,"DejaVu Sans Mono",monospace}small{font-size:.8rem}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:6px}
.symbols{position:absolute;width:0;height:0}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.skip{position:absolute;left:-99em;top:8px;background:var(--card);padding:8px 14px;z-index:9}.skip:focus{left:8px}
.stale{display:none;background:var(--failed);color:var(--card);padding:8px 16px;text-align:center;font-weight:600}
.old .stale{display:block}.old main{opacity:.72}
.dim{color:var(--dim)}.empty{color:var(--dim);padding:6px 0}
.mark{width:1.25em;height:1.25em;flex:none;color:var(--v);vertical-align:-.25em}
.sign{fill:none;stroke:var(--card);stroke-width:2.5;stroke-linecap:round;stroke-linejoin:round}
.star{width:1.05em;height:1.05em;flex:none;color:var(--gold);vertical-align:-.14em;margin:0 .3em}
.rack rect{fill:none;stroke:currentColor;stroke-width:1.7}
.rack path{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linecap:round}
main>section,.columns section{background:var(--card);border:1px solid var(--line);border-radius:14px;
padding:clamp(14px,1.7vw,22px);margin:0 0 16px;box-shadow:var(--shade);min-width:0}
"""

_TOP = """
.top{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 14px;margin:0 2px 14px}
.top h1{font-size:clamp(1.45rem,3.4vw,2.1rem);line-height:1.15;letter-spacing:-.02em}
.brand{font-size:.76rem;font-weight:700;letter-spacing:.14em;text-transform:uppercase;color:var(--dim);width:100%}
.there{color:var(--dim)}
main>.banner{display:flex;gap:clamp(12px,2vw,20px);align-items:center;border:0;
background:linear-gradient(90deg,color-mix(in srgb,var(--v) 17%,var(--card)),
color-mix(in srgb,var(--v) 7%,var(--card)));
box-shadow:inset 0 0 0 1px color-mix(in srgb,var(--v) 38%,transparent),inset 6px 0 0 var(--v)}
.banner .mark{width:clamp(38px,6vw,56px);height:clamp(38px,6vw,56px)}
.banner h2{margin:0;color:var(--v);font-size:clamp(1.25rem,2.6vw,1.7rem);line-height:1.2;letter-spacing:-.01em}
.banner h2::first-letter{text-transform:uppercase}
.banner p{font-size:1.02rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,168px),1fr));gap:1px;background:var(--line);
border:1px solid var(--line);border-radius:14px;overflow:hidden;margin:0 0 16px;box-shadow:var(--shade)}
.figures div{background:var(--card);padding:12px 18px;flex:1}
.figures dt{font-size:.78rem;color:var(--dim)}
.figures dd{font-size:1.14rem;font-weight:650;line-height:1.35}
.figures small{display:block;font-weight:400;color:var(--dim);line-height:1.4}
.figures .star{margin-left:0}
"""

_POOL = """
.bar{display:block;width:100%;height:12px;border-radius:6px;background:var(--soft)}
.bar rect,.strip rect{fill:var(--v);stroke:var(--card);stroke-width:2px;vector-effect:non-scaling-stroke}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:10px 0 16px}
.legend li{display:flex;gap:6px;align-items:center}.legend .none{display:none}
.pool{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,290px),1fr))}
.pool.n1{grid-template-columns:1fr}
.pool.n2{grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr))}
.pool.n3{grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr))}
.box{border:1.5px solid var(--line);border-radius:12px;padding:12px;background:var(--page);min-width:0}
.box header{display:flex;gap:10px;align-items:center;margin-bottom:10px}
.box header div{min-width:0;flex:1}.box h3{font-size:1rem;line-height:1.25}
.box.nowhere header{display:block}
.facts{color:var(--dim);font-size:.82rem;line-height:1.35}
.rack-icon{width:30px;height:30px;color:var(--dim);flex:none}
.state{font-size:.76rem;font-weight:650;padding:2px 9px;border-radius:99px;border:1px solid var(--line);
color:var(--dim)}
.state.answers{color:var(--healthy);border-color:color-mix(in srgb,var(--healthy) 45%,transparent)}
.state.silent{background:var(--failed);color:var(--card);border-color:var(--failed)}
.state.maintenance{color:var(--draining);border-color:currentColor}
.box.silent{border:1.5px dashed var(--failed);background:repeating-linear-gradient(-45deg,
color-mix(in srgb,var(--failed) 15%,var(--card)) 0 7px,var(--card) 7px 16px)}
.box.silent .rack-icon{color:var(--failed)}
.box.silent header,.box.silent .empty,.box.silent .group h4{background:var(--card);border-radius:8px;padding:4px 8px;
margin-left:-4px;margin-right:-4px}
.box.nowhere{border-style:dotted;background:none}
.facts span{display:inline-block;max-width:100%}
.why{font-size:.84rem;line-height:1.35;color:var(--failed);font-weight:550}
.group+.group{margin-top:10px}.group h4{font-size:.8rem;font-weight:600;color:var(--dim);margin-bottom:4px}
.group h4 span{font-weight:400}
.tiles{display:grid;gap:7px;grid-template-columns:minmax(0,1fr)}
.tile{display:flex;align-items:center;gap:8px;color:var(--ink);text-decoration:none;border-radius:9px;
background:color-mix(in srgb,var(--v) 11%,var(--card));
box-shadow:inset 0 0 0 1px color-mix(in srgb,var(--v) 42%,transparent);min-width:0;position:relative}
.tile:hover{box-shadow:inset 0 0 0 2px var(--v)}
.tile.leads{box-shadow:inset 0 0 0 2px var(--gold)}
.tile .name{font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.large .tile{display:grid;grid-template-columns:auto minmax(0,1fr) auto;padding:9px 12px;column-gap:11px;row-gap:0}
.large .tile .mark{grid-row:1/3;width:28px;height:28px}
.large .word{color:var(--v);font-weight:600;font-size:.88rem}
.large .more{grid-column:2/4;color:var(--dim);font-size:.83rem;line-height:1.3;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap}
.large .star{position:absolute;right:-9px;top:-9px;width:22px;height:22px;padding:2px;background:var(--card);
border-radius:99px;box-shadow:0 0 0 2px var(--gold);margin:0}
.medium .tiles{grid-template-columns:repeat(auto-fill,minmax(min(100%,158px),1fr))}
.medium .tile{padding:6px 9px}.medium .tile .star{margin:0 0 0 auto}
.small .tiles{grid-template-columns:repeat(auto-fill,minmax(64px,1fr));gap:5px}
.small .tile{padding:4px 5px;gap:4px;font-size:.8rem;min-height:30px}
.small .tile .mark{width:17px;height:17px}
.small .tile .star,.tiny .tile .star{position:absolute;right:-6px;top:-6px;margin:0;background:var(--card);
border-radius:99px;width:15px;height:15px;padding:1px}
.tiny .tiles{grid-template-columns:repeat(auto-fill,minmax(26px,1fr));gap:4px}
.tiny .tile{justify-content:center;height:26px;border-radius:6px}.tiny .tile .name{display:none}
.tiny .tile .mark{width:17px;height:17px}
"""

_TABLES = """
table{width:100%;border-collapse:collapse;font-size:.92rem}
caption{text-align:left;color:var(--dim);font-size:.84rem;padding:0 0 6px}
.jobs caption,.repairs caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
thead th{font-size:.78rem;color:var(--dim);font-weight:600;text-align:left;border-bottom:1.5px solid var(--line)}
th,td{padding:8px 12px 8px 0;vertical-align:top;text-align:left;font-weight:400}
tbody tr+tr>*{border-top:1px solid var(--line)}
tr:target>*{background:color-mix(in srgb,var(--link) 12%,transparent)}
tbody th .name{font-weight:650}
.members td:nth-child(3){width:46%}
.pill{display:inline-flex;gap:6px;align-items:center;color:var(--v);font-weight:650;white-space:nowrap}
.role{display:inline-block;font-size:.76rem;color:var(--dim);background:var(--soft);border-radius:5px;padding:0 6px}
.cause{margin-bottom:4px}
.signs{display:flex;flex-wrap:wrap;gap:4px 5px}
.signs li{font-size:.8rem;border-radius:6px;padding:1px 7px;background:var(--soft);color:var(--dim);max-width:100%}
.signs i{font-style:normal;font-weight:700;margin-right:4px}
.signs .ok i{color:var(--healthy)}.signs .na i{color:var(--unknown)}
.signs .bad{color:var(--failed);background:color-mix(in srgb,var(--failed) 12%,var(--card));font-weight:600}
.signs small{font-weight:400}
details{margin-top:12px}summary{cursor:pointer;padding:6px 0;color:var(--link);font-weight:600}
.columns>div{min-width:0}
.columns{display:grid;gap:0 16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));align-items:start}
.totals{display:flex;flex-wrap:wrap;gap:4px 18px;margin:-4px 0 8px;color:var(--dim)}.totals b{color:var(--ink)}
.outcome{font-weight:650}.outcome.ok{color:var(--healthy)}.outcome.bad{color:var(--failed)}
.strip{display:block;width:100%;height:18px;border-radius:5px}
.strip .nobody,.leaders .nobody{--v:var(--soft)}
.leaders{display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0 12px;font-size:.84rem}.leaders span{color:var(--dim)}
.leaders i{display:inline-block;width:11px;height:11px;border-radius:3px;background:var(--v);margin-right:6px;
box-shadow:inset 0 0 0 1px var(--line)}
.events{border-left:2px solid var(--line);margin-left:6px}
.events li{position:relative;padding:0 0 10px 18px;font-size:.9rem}
.events li:not(.day)::before{content:"";position:absolute;left:-6px;top:.45em;width:10px;height:10px;border-radius:99px;
background:var(--card);border:2.5px solid var(--dim)}
.events li.ok::before{border-color:var(--healthy);background:var(--healthy)}
.events li.bad::before{border-color:var(--failed);background:var(--failed);border-radius:1px;transform:rotate(45deg)}
.events .day{font-size:.8rem;color:var(--dim);font-weight:600}
.events time,.events .node{color:var(--dim)}.events p{color:var(--ink)}
footer{color:var(--dim);font-size:.84rem;padding:4px 2px}
@media (max-width:719px){
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td,caption{display:block}
.members td:nth-child(3){width:auto}
tbody tr{padding:10px 0}tbody tr+tr>*{border-top:0}tbody tr+tr{border-top:1px solid var(--line)}
tbody th,tbody td{padding:2px 0;display:grid;grid-template-columns:88px minmax(0,1fr);gap:2px 10px}
tbody td::before{content:attr(data-label);color:var(--dim);font-size:.78rem;padding-top:2px}
tbody th{display:block;font-size:1rem;padding-bottom:4px}
td>*{grid-column:2}
.figures{grid-template-columns:1fr 1fr}.figures div{padding:10px 13px}.figures div:last-child{grid-column:1/-1}
}
"""

_PRINT = """
@media print{
:root{color-scheme:light;--page:#fff;--shade:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:10.5pt}.skip,.stale,footer span{display:none}
main>section,.columns section{border-color:#bbb;padding:10px 12px}
.box,tr,.events li,.banner,.figures{break-inside:avoid}
details::details-content{content-visibility:visible;display:block}
@page{margin:14mm}
}
@media (forced-colors:active){.mark,.bar,.strip,.star,.events li::before{forced-color-adjust:none}
.tile{border:1px solid}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_variables(False)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(True)}}}}}"
    f"{_rules()}{_BASE}{_TOP}{_POOL}{_TABLES}{_PRINT}"
)
