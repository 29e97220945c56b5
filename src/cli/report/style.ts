/** The page's style. Everything is grey but what is guilty; shapes and words say the same as the colours. */
export const style = `
:root { color-scheme: light dark; --bg: #fbfbf9; --text: #1d2126; --muted: #59626d; --line: #d8dbdf; --soft: #eeefec;
  --moving: #74818f; --working: #9aa5b0; --rail: #9aa5b0; --guilt: #b3380c; --guilt-soft: #fbeae2; }
@media (prefers-color-scheme: dark) { :root { --bg: #15181b; --text: #e4e7ea; --muted: #9ba5af; --line: #31373d;
  --soft: #1d2125; --moving: #8494a4; --working: #66727e; --rail: #66727e; --guilt: #ff8f5a; --guilt-soft: #33211a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1.25rem 4rem; background: var(--bg); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
header { margin-bottom: 2rem; }
h1, .verdict { font-size: clamp(1.25rem, 1rem + 1.2vw, 1.75rem); line-height: 1.3; font-weight: 600; margin: .4rem 0 1rem;
  padding-left: .9rem; border-left: .3rem solid var(--moving); text-wrap: pretty; }
.bad h1, .bad > .verdict, .survived h1, .survived > .verdict { border-color: var(--guilt); }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; font-weight: 600; }
h3 { font-size: 1rem; margin: 0; font-weight: 600; }
p { margin: .5rem 0; }
a { color: inherit; }
.eyebrow, .muted, figcaption, .note { color: var(--muted); font-size: .875rem; }
.eyebrow { margin: 0; }
.mark { font-weight: 600; color: var(--guilt); }
code, .code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875em; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem 1.5rem; margin: 1rem 0; }
dl.facts div { min-width: 0; }
dt { color: var(--muted); font-size: .875rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
ul.evidence { margin: .5rem 0; padding: .75rem 1rem .75rem 2rem; background: var(--guilt-soft); border-radius: .4rem; }
ul.evidence li + li { margin-top: .25rem; }
ol.happenings { padding: 0; margin: .5rem 0; list-style: none; }
ol.happenings > li { display: grid; grid-template-columns: 1.6rem 4.2rem 1fr; gap: 0 .5rem; padding: .5rem 0;
  border-top: 1px solid var(--line); }
ol.happenings .flag { justify-self: start; }
ol.happenings ul { margin: .25rem 0 0; padding-left: 1.1rem; color: var(--muted); font-size: .875rem; }
.flag { display: inline-block; min-width: 1.35rem; padding: 0 .25rem; border: 1px solid var(--muted); border-radius: .25rem;
  font-size: .75rem; line-height: 1.25rem; text-align: center; font-variant-numeric: tabular-nums; height: 1.35rem; }
.flag.guilty { border-color: var(--guilt); color: var(--guilt); font-weight: 700; border-width: 2px; line-height: 1.1rem; }
time, .at { color: var(--muted); font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .5rem 0; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--text); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { text-align: right; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: baseline; }
th { color: var(--muted); font-weight: 500; font-size: .8125rem; }
th[scope=row] { color: var(--text); font-weight: 400; font-size: .9rem; }
th:first-child, td.words, th.words { text-align: left; }
td.words { white-space: normal; min-width: 9rem; }
tr.guilty { background: var(--guilt-soft); }
tr.guilty th { font-weight: 700; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .5rem 0 1rem; list-style: none;
  font-size: .8125rem; color: var(--muted); }
.legend li { display: flex; align-items: center; gap: .4rem; }
.lanes { display: grid; grid-template-columns: minmax(5.2rem, 7.5rem) minmax(0, 1fr); column-gap: .6rem; font-size: .8125rem; }
.lanes ul { list-style: none; margin: 0; padding: 18px 0 0; }
.lanes li { height: 22px; line-height: 22px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.lanes li.guilty { color: var(--guilt); font-weight: 700; }
.lanes.axis { margin-top: .25rem; }
details { margin: .75rem 0; border-top: 1px solid var(--line); padding-top: .6rem; }
summary { cursor: pointer; }
summary h3 { display: inline; }
svg { display: block; width: 100%; overflow: visible; }
svg.key { width: 34px; height: 18px; flex: none; }
svg text { font: 11px system-ui, sans-serif; fill: var(--muted); font-variant-numeric: tabular-nums; }
.moving { fill: var(--moving); }
.working { fill: none; stroke: var(--working); stroke-width: 1.5; }
.input, .output { fill: var(--rail); }
.base { stroke: var(--line); stroke-width: 1; }
.stalled { fill: url(#hatch); stroke: var(--guilt); stroke-width: 1.5; }
.hatch-back { fill: var(--guilt-soft); }
.hatch-line { stroke: var(--guilt); stroke-width: 2.2; }
svg text.label { fill: var(--guilt); font-weight: 700; stroke: var(--bg); stroke-width: 6px; paint-order: stroke;
  stroke-linejoin: round; }
.since { stroke: var(--guilt); stroke-width: 1.5; }
.event { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; }
svg text.number { text-anchor: middle; }
svg text.number.guilty { fill: var(--guilt); font-weight: 700; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1rem 1.25rem; margin: .5rem 0 1.25rem; }
.charts figure { margin: 0; min-width: 0; }
.charts svg { height: 56px; border-bottom: 1px solid var(--line); overflow: hidden; }
.charts .guilty b { color: var(--guilt); }
.out { fill: var(--soft); stroke: var(--moving); stroke-width: 1.5; }
.in { fill: none; stroke: var(--text); stroke-width: 1.2; stroke-dasharray: 4 3; }
.out, .in, .charts .stalled { vector-effect: non-scaling-stroke; }
.hidden { position: absolute; width: 0; height: 0; overflow: hidden; }
.finding { padding: .6rem 0; }
.finding + .finding { border-top: 1px solid var(--line); }
.finding h3 { font-weight: 500; }
.finding ul { margin: .25rem 0 0; padding-left: 1.2rem; }
.finding ul.evidence { margin: .5rem 0; padding: .75rem 1rem .75rem 2rem; }
ul.steps { list-style: "→ "; }
ul.plain { list-style: none; margin: 0; padding: 0; }
article + article { margin-top: 4rem; border-top: 2px solid var(--line); padding-top: 1rem; }
@media (max-width: 36rem) { body { padding: 1rem .9rem 3rem; } ol.happenings > li { grid-template-columns: 1.6rem 1fr; }
  ol.happenings .what { grid-column: 1 / -1; } .charts { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); } }
@media print { :root { color-scheme: light; --bg: #fff; --text: #000; --muted: #444; --line: #bbb; --soft: #eee;
  --moving: #666; --working: #888; --rail: #888; --guilt: #a02c00; --guilt-soft: #f7e9e2; }
  body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; }
  details, figure, li, tr { break-inside: avoid; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`
