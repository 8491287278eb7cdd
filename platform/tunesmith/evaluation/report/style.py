"""How the report looks: one style sheet, for light, dark and paper. It loads nothing, and the page may load nothing."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5a6675; --line: #d9dfe7; --ground: #ffffff; --card: #f5f7fa;
  --accent: #2f6fde; --good: #1a7f4b; --bad: #c0392b; --band: #e9edf3; --warn: #8a5a00; --warnground: #fff6e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa7b8; --line: #334050; --ground: #141a22;
  --card: #1c2430; --accent: #6ea2ff; --good: #4cc38a; --bad: #ff7b6b; --band: #26303d; --warn: #f0c674;
  --warnground: #33290f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 24px 64px; max-width: 1120px; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC",
  sans-serif; }
h1 { font-size: 26px; margin: 0; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 6px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 6px 0; }
.soft { color: var(--soft); font-size: 13.5px; }
.card { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--accent);
  border-radius: 8px;
  padding: 14px 18px; margin: 20px 0 12px; }
.card strong { display: block; font-size: 17px; }
.none { border-left-color: var(--soft); }
.warn { background: var(--warnground); border-left-color: var(--warn); }
.warn ul { margin: 4px 0 0; padding-left: 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; }
td.soft, td.mono, details td { white-space: normal; }
td.name { white-space: normal; overflow-wrap: anywhere; min-width: 200px; font-weight: 600; }
tr.chosen td { background: var(--card); }
.tag { display: inline-block; border: 1px solid currentColor; border-radius: 9px; padding: 0 7px; font-size: 12px;
  font-weight: 500; white-space: nowrap; margin-left: 6px; color: var(--soft); }
.tag.accent, .accent { color: var(--accent); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.mono { font-family: ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px;
  overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; margin: 10px 0; }
svg text { fill: var(--ink); font-size: 12.5px; font-family: inherit; }
svg text.soft { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .zone { fill: var(--band); }
svg .plain { stroke: var(--soft); fill: var(--soft); }
svg .rise { stroke: var(--good); fill: var(--good); }
svg .fall { stroke: var(--bad); fill: var(--bad); }
svg .hollow { fill: var(--ground); }
svg .c0 { stroke: var(--accent); fill: var(--accent); }
svg .c1 { stroke: #d9822b; fill: #d9822b; }
svg .c2 { stroke: #8e5bd0; fill: #8e5bd0; }
svg .c3 { stroke: #1f9e9e; fill: #1f9e9e; }
svg .c4 { stroke: #c8447f; fill: #c8447f; }
svg polyline { fill: none !important; stroke-width: 2; }
svg line { fill: none; }
svg .bar { stroke: none; fill: var(--accent); opacity: .75; }
svg .mean { stroke: var(--ink); stroke-width: 2; }
svg .dash { stroke-dasharray: 5 4; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0; padding: 0 14px; }
summary { cursor: pointer; padding: 9px 0; overflow-wrap: anywhere; }
summary .tag { margin-left: 8px; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; background: var(--card);
  border-radius: 6px;
  padding: 8px 12px; margin: 4px 0 10px; }
.quoted { unicode-bidi: isolate; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 4px 18px;
  padding-bottom: 8px; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --ground: #fff; --card: #f6f6f6;
    --accent: #1f4fa8;
    --good: #11603a; --bad: #982b20; --band: #e6e6e6; --warn: #6b4600; --warnground: #fff; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  td.name { min-width: 90px; }
  tr, svg, .card, .text { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)
"""The page runs and loads nothing but this very style sheet, whatever an answer holds."""
