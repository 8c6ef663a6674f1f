# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The report's style sheet: light, dark by the reader's preference, and paper."""

STYLE = """
:root { color-scheme: light dark; --page:#f6f7f9; --card:#fff; --ink:#16202c; --ink2:#566474; --line:#dfe4ea;
  --s0:#2563c9; --s1:#d9741a; --s2:#128a6e; --s3:#a8459b; --bad:#c8322b; --good:#2e8b63; --warn:#fff6e0;
  --warnink:#6b4a00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page:#0f141b; --card:#171e27; --ink:#e8edf3; --ink2:#97a5b5; --line:#2b3643; --s0:#6aa3ff; --s1:#f2a154;
    --s2:#43c7a4; --s3:#d583ca; --bad:#ff6b62; --good:#5cc396; --warn:#332a12; --warnink:#f3d48a; }
}
* { box-sizing: border-box }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width:1180px; margin:0 auto; padding:32px 24px 64px }
header { margin-bottom:20px }
h1 { font-size:27px; line-height:1.2; margin:2px 0 6px; letter-spacing:-.01em; overflow-wrap:anywhere }
h2 { font-size:18px; margin:0 0 12px }
h3 { font-size:15px; margin:0 0 8px }
h3 small { color:var(--ink2); font-weight:400 }
.kicker { margin:0; color:var(--s0); font-weight:600; font-size:13px; letter-spacing:.03em }
.sub { color:var(--ink2); margin:0 0 12px }
code { font-size:.92em }
section { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:20px 22px; margin:16px 0
  }
.notes { background:var(--warn); color:var(--warnink); border-radius:10px; padding:10px 16px 10px 32px; margin:16px
  0 }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:0; padding:6px 0 }
.tile { padding:12px 22px; border-left:1px solid var(--line); display:flex; flex-direction:column }
.tile:first-child { border-left:0 }
.tile b { font-weight:500; color:var(--ink2); font-size:13px }
.tile strong { font-size:30px; font-weight:600; line-height:1.25; font-variant-numeric:tabular-nums }
.tile small { font-size:14px; font-weight:400; color:var(--ink2) }
.tile span { font-size:13px; color:var(--ink2) }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th { text-align:left; font-weight:500; color:var(--ink2); font-size:13px; padding:4px 12px 6px 0;
  vertical-align:bottom }
td { padding:4px 12px 4px 0; border-top:1px solid var(--line) }
td:last-child, th:last-child { padding-right:0 }
.n { text-align:right }
.classes th:nth-last-child(-n+4) { text-align:right }
.side th { text-align:right }
tfoot td { font-weight:600 }
.classes th:nth-child(2) { text-align:left }
td.bad { color:var(--bad); font-weight:600 }
.about td:last-child { overflow-wrap:anywhere }
.bar { white-space:nowrap; min-width:150px }
.bar span { display:inline-block; width:calc(100% - 52px); max-width:260px; height:9px; background:var(--line);
  border-radius:5px; margin-right:10px; overflow:hidden }
.bar u { display:block; height:100%; border-radius:5px }
i { font-style:normal }
.swatch, .legend i { display:inline-block; width:11px; height:11px; border-radius:3px; margin-right:8px; border:1px
  solid color-mix(in srgb, var(--ink) 25%, transparent) }
.legend { display:flex; flex-wrap:wrap; gap:4px 16px; font-size:13px; margin:12px 0 6px }
.legend i { margin-right:6px; vertical-align:-1px }
[class^=key] { display:inline-block; width:10px; height:10px; border-radius:50%; margin-right:6px }
.dot { display:inline-block; width:10px; height:10px; border-radius:50%; margin-right:5px }
.wrong { background:#ff4842 }
.right { background:#468468 }
.ignored { background:#3e4652 }
.ramp { display:inline-block; width:120px; height:10px; border-radius:5px; vertical-align:-1px;
  background:linear-gradient(90deg,#440154,#3b528b,#21918c,#5cc863,#fde725) }
.frame { margin-bottom:18px }
.images { display:grid; grid-template-columns:repeat(3,1fr); gap:10px }
figure { margin:0 }
/* the page has a legend of its own: of a picture only the square shows, not the strip below it */
img { width:100%; display:block; border-radius:8px; background:#0e1218; aspect-ratio:1; object-fit:cover;
  object-position:top }
figcaption { color:var(--ink2); font-size:13px; margin-top:5px }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(420px,1fr)); gap:22px 30px; align-items:start }
.charts svg { max-width:640px }
.charts .square svg { max-width:340px }
svg { width:100%; height:auto; display:block }
svg text { fill:var(--ink2); font-size:12px }
svg .label { fill:var(--ink) }
svg .value { fill:var(--ink); font-size:11px }
.grid { stroke:var(--line) }
.cell { fill:var(--line); fill-opacity:.45 }
.hit { fill:var(--s0) }
.miss { fill:var(--bad) }
svg .share { font-size:10.5px; fill:var(--ink) }
svg .share.on { fill:var(--card) }
.diagonal { stroke:var(--ink2); stroke-dasharray:4 4 }
.whisker { stroke:var(--ink); stroke-width:1.4 }
polyline { fill:none; stroke-width:1.8; stroke-linejoin:round }
.line0 { stroke:var(--s0) }
.line1 { stroke:var(--s1) }
.line2 { stroke:var(--s2) }
.line3 { stroke:var(--s3) }
.fill0 { fill:var(--s0) }
.fill1 { fill:var(--s1) }
.fill2 { fill:var(--s2) }
.fill3 { fill:var(--s3) }
.key0, .bar0 { background:var(--s0) }
.key1, .bar1 { background:var(--s1) }
.key2, .bar2 { background:var(--s2) }
.key3, .bar3 { background:var(--s3) }
@media (max-width:700px) {
  .images { grid-template-columns:1fr }
  .charts { grid-template-columns:1fr }
  main { padding:16px 12px }
}
@media print {
  body { background:#fff; font-size:11px }
  main { max-width:none; padding:0 }
  * { print-color-adjust:exact; -webkit-print-color-adjust:exact }
  section { border:0; padding:0; margin:14px 0 }
  .frame, figure, tr, .tiles, .notes { break-inside:avoid }
  h2, h3 { break-after:avoid }
  .charts > figure:only-child { grid-column:1/-1 }
  .charts { grid-template-columns:1fr 1fr; gap:14px 18px }
  h1 { font-size:21px }
  .tiles { grid-template-columns:repeat(auto-fit,minmax(105px,1fr)) }
  .tile { padding:6px 12px }
  .tile strong { font-size:22px }
  @page { size:A4; margin:14mm }
}
"""
