"""The page that a report fills in: a jinja2 template, kept as Python as packages of ours hold nothing else."""

PAGE = """\
{% macro swatch(run) %}
<svg class="swatch run-{{ run % 7 }} dash-{{ run % 4 }}" viewBox="0 0 34 14" aria-hidden="true">
<path class="line" d="M1 7H33"/><path class="mark" d="{{ plot.mark(run, 17, 7) }}"/></svg>
{% endmacro %}
{% macro figure(drawing, id, title, x_title, caption) %}
<figure>
<h3 id="{{ id }}">{{ title }}</h3>
{% if runs | length > 1 %}
<ul class="legend">
{% for run in runs %}
<li>{{ swatch(loop.index0) }}{{ run.name }}</li>
{% endfor %}
</ul>
{% endif %}
<svg class="plot" role="img" aria-labelledby="{{ id }}" aria-describedby="{{ id }}-said" \
viewBox="0 0 {{ plot.WIDTH }} {{ plot.HEIGHT }}">
<desc id="{{ id }}-said">
{% for line in drawing.lines %}
{{ runs[line.run].name }}: {{ line.description }}.
{% endfor %}
</desc>
<g class="grid">
{% for tick in drawing.y_ticks %}
<path d="M{{ plot.LEFT }} {{ tick.at }}H{{ plot.RIGHT }}"/>
{% endfor %}
</g>
<path class="axis" d="M{{ plot.LEFT }} {{ plot.BOTTOM }}H{{ plot.RIGHT }}"/>
<g class="ticks">
{% for tick in drawing.y_ticks %}
<text class="y" x="{{ plot.LEFT - 7 }}" y="{{ tick.at + 4 }}">{{ tick.label }}</text>
{% endfor %}
{% for tick in drawing.x_ticks %}
<path d="M{{ tick.at }} {{ plot.BOTTOM }}v5"/>
<text class="x" x="{{ tick.at }}" y="{{ plot.BOTTOM + 19 }}">{{ tick.label }}</text>
{% endfor %}
<text class="x" x="{{ (plot.LEFT + plot.RIGHT) / 2 }}" y="{{ plot.HEIGHT - 8 }}">{{ x_title }}</text>
<text class="x" transform="translate(12 {{ (plot.TOP + plot.BOTTOM) / 2 }}) rotate(-90)">tasks passed</text>
</g>
{% for line in drawing.lines %}
<g class="run-{{ line.run % 7 }} dash-{{ line.run % 4 }}">
{% for bar in line.bars %}
<path class="bar" d="M{{ bar.x }} {{ bar.low }}V{{ bar.high }}M{{ bar.x - 4 }} {{ bar.low }}h8\
M{{ bar.x - 4 }} {{ bar.high }}h8"/>
{% endfor %}
<path class="line" d="{{ line.path }}"/>
{% for mark in line.marks %}
<path class="mark" d="{{ mark }}"/>
{% endfor %}
</g>
{% endfor %}
</svg>
<figcaption>{{ caption }}</figcaption>
</figure>
{% endmacro %}
{% macro rate(of) %}
{% if of %}
<td>{{ of.share | percent }}<small>{{ of | interval }}</small></td>
{% else %}
<td><span class="none">–</span></td>
{% endif %}
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evaluation: {{ runs | map(attribute="name") | join(", ") }}</title>
<style>
:root {
  --page: #fff; --text: #1c1e21; --quiet: #5a6068; --rule: #d8dce1; --stripe: #f5f6f8;
  --run-0: #0072b2; --run-1: #c24e00; --run-2: #00795a; --run-3: #a8437d; --run-4: #8a6200;
  --run-5: #4b4fc4; --run-6: #555;
  --good: #00694d; --bad: #a93c00; --worst: #b00020;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181b; --text: #e4e6e9; --quiet: #a2a9b2; --rule: #363b42; --stripe: #1e2125;
    --run-0: #56b4e9; --run-1: #ff9447; --run-2: #35c79b; --run-3: #e59ac4; --run-4: #f0d34a;
    --run-5: #a5a8ff; --run-6: #bbb;
    --good: #4fd0a6; --bad: #ffa36b; --worst: #ff7d8c;
  }
}
.run-0 { --run: var(--run-0) } .run-1 { --run: var(--run-1) } .run-2 { --run: var(--run-2) }
.run-3 { --run: var(--run-3) } .run-4 { --run: var(--run-4) } .run-5 { --run: var(--run-5) }
.run-6 { --run: var(--run-6) }
* { box-sizing: border-box }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem;
  background: var(--page); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .75rem }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1rem; margin: 0 0 .25rem }
h1, h2, h3, p, li, summary, tbody th, .words, .headline th { overflow-wrap: anywhere }
p { max-width: 46rem; margin: .5rem 0 }
small, figcaption, .note { color: var(--quiet); font-size: .85rem }
.alarm { border-left: 4px solid var(--worst); padding: .25rem .75rem }
.wide { overflow-x: auto }
.wide:focus-visible { outline: 2px solid var(--run-0) }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: top; border-top: 1px solid var(--rule) }
thead th { border-top: 0; vertical-align: bottom }
th:first-child, td:first-child { padding-left: 0 }
th small, td small { display: block; font-weight: normal }
td small { white-space: nowrap }
.headline thead th { min-width: 8rem; max-width: 14rem }
.headline tbody th { max-width: 22rem }
tbody th { min-width: 8.5rem }
thead th:first-child, tbody th { position: sticky; left: 0; background: inherit }
tr { background: var(--page) }
.words { min-width: 11rem }
.headline td, .headline thead th + th, .number { text-align: right }
.number { white-space: nowrap } thead .number { white-space: normal; min-width: 5.5rem }
.headline tr.first td { font-size: 1.3rem; font-weight: 600 }
.headline tr.first td small { font-size: .85rem }
.none { color: var(--quiet) }
.tasks { width: 100%; font-size: .9rem }
.tasks tbody tr:nth-child(even) { background: var(--stripe) }
.tasks th, .tasks td { border-top: 0; padding: .25rem .6rem }
.tasks th { font-weight: normal }
.tasks thead th { font-weight: 600 }
.verdict { white-space: nowrap }
.passed { color: var(--good) } .failed, .partial { color: var(--bad) } .wrong { color: var(--worst); font-weight: 600 }
.untried { color: var(--quiet) }
.figures { display: grid; gap: 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)) }
figure { margin: 0; max-width: 38rem }
.plot { display: block; width: 100%; height: auto; margin: .5rem 0 }
.plot text { font: 13px system-ui, sans-serif; fill: var(--text) }
@media (max-width: 30rem) { .plot text { font-size: 15px } }
.plot .y { text-anchor: end } .plot .x { text-anchor: middle }
.grid path { stroke: var(--rule); fill: none }
.axis, .ticks path { stroke: var(--quiet); fill: none }
.line { stroke: var(--run); stroke-width: 2; fill: none }
.bar { stroke: var(--run); stroke-width: 1.25; fill: none }
.mark { fill: var(--run); stroke: var(--page); stroke-width: 1.25 }
.dash-1 .line { stroke-dasharray: 7 3 } .dash-2 .line { stroke-dasharray: 2 3 }
.dash-3 .line { stroke-dasharray: 9 3 2 3 }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0; font-size: .9rem }
.swatch { width: 34px; height: 14px; margin-right: .5rem; vertical-align: -1px }
details { margin: .75rem 0 }
summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; background: var(--stripe); padding: .75rem; font-size: .85rem; line-height: 1.4 }
</style>
</head>
<body>
<main>
<h1>Evaluation of {{ runs | map(attribute="name") | join(", ") }}</h1>
<p>In an evaluation of OCI Companion a language model that runs on one's own machine solves programming tasks. Each
reply is run against tests; where some fail, the model sees how and tries again, for as many rounds as the run allows.
A task counts as passed if the last reply passes.</p>
{% for run in runs if run.summary.wrong_claims %}
<p class="alarm"><strong class="wrong">‼ {{ run.name }} said of {{ run.summary.wrong_claims | length | tasks }} that the
code passes, and it does not</strong> when its tests are run outside of OCI Companion:
{{ run.summary.wrong_claims | join(", ") }}. There must be none.</p>
{% endfor %}

<section aria-labelledby="results">
<h2 id="results">Results</h2>
{% if other_data %}
<p class="alarm">These runs are of different tasks. Their rates say nothing about which is better.</p>
{% endif %}
<p class="note" id="results-said">Below each rate: its 95 % confidence interval. A range computed like this holds the rate
that would be seen over very many tasks of this kind in 95 of 100 evaluations; the fewer tasks, the wider it is
(Wilson's score interval).
Below each median: the range in which the middle half of the tasks lies.</p>
<div class="wide" tabindex="0" role="region" aria-labelledby="results">
<table aria-describedby="results-said" class="headline">
<thead><tr><th scope="col"><span class="none">Measure</span></th>
{% for run in runs %}
<th scope="col">{% if runs | length > 1 %}{{ swatch(loop.index0) }}{% endif %}{{ run.name }}</th>
{% endfor %}
</tr></thead>
<tbody>
<tr class="first"><th scope="row">Tasks passed</th>
{% for run in runs %}
{{ rate(run.summary.passed) }}
{% endfor %}
</tr>
<tr><th scope="row">Passed, of all tasks</th>
{% for run in runs %}
<td>{{ run.summary.passed.passed }} of {{ run.summary.passed.of }}</td>
{% endfor %}
</tr>
{% if runs | selectattr("summary.passed_plus") | list %}
<tr><th scope="row">Passed the larger tests, too<small>more inputs for the same tasks</small></th>
{% for run in runs %}
{{ rate(run.summary.passed_plus) }}
{% endfor %}
</tr>
{% endif %}
{% if rounds > 1 %}
{% for number in range(rounds) %}
<tr><th scope="row">Passed by round {{ number + 1 }}</th>
{% for run in runs %}
{{ rate(run.summary.by_round[number] if number < run.summary.by_round | length else none) }}
{% endfor %}
</tr>
{% endfor %}
{% endif %}
<tr><th scope="row">Said to pass, does not<small>of the claims checked outside of OCI Companion; must be 0</small></th>
{% for run in runs %}
{% if run.summary.claims %}
<td class="{{ "wrong" if run.summary.wrong_claims else "" }}">{{ run.summary.wrong_claims | length }}\
<small>of {{ run.summary.claims }}</small></td>
{% else %}
<td><span class="none">none checked</span></td>
{% endif %}
{% endfor %}
</tr>
{% if runs | selectattr("summary.untried") | list %}
<tr><th scope="row">Could not be tried<small>count as not passed</small></th>
{% for run in runs %}
<td>{{ run.summary.untried | length }}</td>
{% endfor %}
</tr>
{% endif %}
<tr><th scope="row">Seconds for a task, median</th>
{% for run in runs %}
{% set seconds = run.summary.seconds %}
<td>{% if seconds %}{{ "%.1f" | format(seconds.median) }}<small>{{ seconds | span(1) }}</small>{% endif %}</td>
{% endfor %}
</tr>
<tr><th scope="row">Tokens for a task, median<small>pieces of words that the model wrote</small></th>
{% for run in runs %}
{% set tokens = run.summary.tokens %}
<td>{% if tokens %}{{ "{:,.0f}".format(tokens.median) }}<small>{{ tokens | span(0) }}</small>{% endif %}</td>
{% endfor %}
</tr>
<tr><th scope="row">Tokens for all tasks</th>
{% for run in runs %}
<td>{{ "{:,}".format(run.summary.all_tokens) }}</td>
{% endfor %}
</tr>
<tr><th scope="row">Hours for all tasks<small>one after the other</small></th>
{% for run in runs %}
<td>{{ "%.2f" | format(run.summary.all_seconds / 3600) }}</td>
{% endfor %}
</tr>
</tbody>
</table>
</div>
</section>

{% if by_round or by_tokens %}
<section aria-labelledby="plots">
<h2 id="plots">What rounds and tokens buy</h2>
<div class="figures">
{% if by_round %}
{{ figure(by_round, "by-round", "Tasks passed by round", "rounds completed",
"The share of all tasks that had passed after so many rounds. Vertical bars are 95 % confidence intervals \
(Wilson)" ~ ("; runs are drawn side by side so that theirs can be told apart." if runs | length > 1 else ".")) }}
{% endif %}
{% if by_tokens %}
{{ figure(by_tokens, "by-tokens", "Tasks passed by tokens spent", "tokens written for the task (logarithmic scale)",
"The share of all tasks that passed before the model had written more than so many tokens for the task, all its \
rounds together. A curve further left is cheaper, a higher one solves more; the mark is where half of a run's passed \
tasks are reached.") }}
{% endif %}
</div>
</section>
{% endif %}

{% if comparisons %}
<section aria-labelledby="compared">
<h2 id="compared">Compared with {{ runs[0].name }}</h2>
<p class="note" id="compared-said">Over the tasks that both runs have. The difference is in percentage points, with its
95 % confidence interval (Newcombe's for paired data): where it includes 0, the runs may be equally good. p is how
likely so uneven a split of the tasks that only one of them passed is, if neither were better (McNemar's exact
test).</p>
<div class="wide" tabindex="0" role="region" aria-labelledby="compared">
<table aria-describedby="compared-said">
<thead><tr><th scope="col">Run</th><th scope="col" class="number">Difference</th><th scope="col" class="number">p</th>
<th scope="col" class="number">Only this run passed</th><th scope="col" class="number">Only the first passed</th>
<th scope="col" class="number">Tokens, ratio of medians</th><th scope="col" class="number">Seconds, ratio of medians</th>
</tr></thead>
<tbody>
{% for each in comparisons %}
<tr><th scope="row">{{ each.names[1] }}<small>{{ each.passed.pairs.of | tasks }}</small></th>
<td class="number">{{ each.passed.pairs.difference | points }}\
<small>{{ each.passed.interval.low | points }} to {{ each.passed.interval.high | points }}</small></td>
<td class="number">{{ each.passed.p | p }}</td>
<td class="number">{{ each.passed.only_b | length }}</td>
<td class="number">{{ each.passed.only_a | length }}</td>
{% for of in ("tokens", "seconds") %}
{% set factor = ratio(each.a[of], each.b[of]) %}
<td class="number">{% if factor is not none %}× {{ "%.2f" | format(factor) }}{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% for each in comparisons %}
<details><summary>Which tasks {{ each.names[1] }} gained and lost</summary>
<p>Only {{ each.names[1] }} passed: {{ each.passed.only_b | join(", ") or "none" }}.</p>
<p>Only {{ each.names[0] }} passed: {{ each.passed.only_a | join(", ") or "none" }}.</p>
</details>
{% endfor %}
</section>
{% endif %}

<section aria-labelledby="each">
<h2 id="each">Each task</h2>
<p class="note">Verdicts: ✓ passed; ◐ passed the base tests, but not the larger ones; ✗ not passed; – could not be
tried; ‼ said to pass, but does not.</p>
{% for run in runs %}
<details{{ " open" if runs | length == 1 else "" }}><summary>{{ run.name }}: {{ run.rows | length | tasks }}</summary>
<div class="wide" tabindex="0" role="region" aria-label="Tasks of {{ run.name }}">
<table class="tasks">
<thead><tr><th scope="col">Task</th><th scope="col">Verdict</th><th scope="col" class="number">Rounds</th>
<th scope="col" class="number">Tokens</th><th scope="col" class="number">Seconds</th>
<th scope="col">Why it did not pass</th></tr></thead>
<tbody>
{% for row in run.rows %}
<tr><th scope="row">{{ row.id }}</th>
<td class="verdict {{ row.verdict.style }}"><span aria-hidden="true">{{ row.verdict.sign }}</span> \
{{ row.verdict.words }}</td>
<td class="number">{{ row.rounds }}</td><td class="number">{{ "{:,}".format(row.tokens) }}</td>
<td class="number">{{ "%.1f" | format(row.seconds) }}</td><td class="words">{{ row.reason }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
{% endfor %}
</section>

<section aria-labelledby="reproduce">
<h2 id="reproduce">To reproduce this</h2>
{% if runs | length > 1 %}
{% if differs %}
<p class="note" id="differing-said">What differs between the runs; all else is the same.</p>
<div class="wide" tabindex="0" role="region" aria-label="What differs between the runs">
<table aria-describedby="differing-said">
<thead><tr><th scope="col">Setting</th>
{% for run in runs %}
<th scope="col" class="words">{{ run.name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for name, values in differs.items() %}
<tr><th scope="row">{{ name }}</th>
{% for value in values %}
<td class="words">{{ value | shown }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p>The runs' settings are the same: they are repetitions.</p>
{% endif %}
{% endif %}
{% for run in runs %}
<details{{ " open" if runs | length == 1 else "" }}><summary>All settings of {{ run.name }} (run.json)</summary>
<pre>{{ run.manifest }}</pre>
</details>
{% endfor %}
</section>
</main>
</body>
</html>
"""
