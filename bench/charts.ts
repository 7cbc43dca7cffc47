import { writeFileSync } from 'node:fs';
import { chartLibrary, escape } from '../scenarios/report/html.js';
import { style } from '../scenarios/report/page.js';
import type { Curve, Table } from './jobs.js';
import { standing, type Verdict } from './targets.js';

interface Page {
  readonly method: string;
  readonly tables: readonly Table[];
  readonly verdicts: readonly Verdict[];
  readonly curves: readonly Curve[];
}

/** Draws bars of CPU per request for each job, and the curves. Runs in the browser. */
const script = `
const { bars, curves } = JSON.parse(document.getElementById('data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
Chart.defaults.color = dark ? '#9aa5b8' : '#5a6478';
Chart.defaults.borderColor = dark ? '#323a48' : '#dfe3ea';
Chart.defaults.font.family = 'system-ui, sans-serif';
Chart.defaults.animation = false;
const colours = ['#0072b2', '#e69f00', '#009e73', '#cc79a7'];
bars.forEach((bar, index) => new Chart(document.getElementById('bar-' + index), { type: 'bar', data: { labels: bar.labels, datasets: [{ data: bar.values, backgroundColor: bar.labels.map((_, at) => colours[at === 0 ? 0 : 1]) }] },
  options: { maintainAspectRatio: false, plugins: { legend: { display: false } }, scales: { y: { beginAtZero: true, title: { display: true, text: 'CPU per request, µs' } } } } }));
curves.forEach((curve, index) => new Chart(document.getElementById('curve-' + index), { type: 'line', data: { datasets: curve.series.map((series, at) => ({ label: series.name, data: series.points.map(({ x, y }) => ({ x: Math.max(x, 0.5), y })), borderColor: colours[at], backgroundColor: colours[at] })) },
  options: { maintainAspectRatio: false, plugins: { legend: { position: 'bottom' } }, scales: { x: { type: 'logarithmic' }, y: { type: curve.isLogarithmic ? 'logarithmic' : 'linear', beginAtZero: true, title: { display: true, text: curve.unit } } } } }));
`;

const classes: Readonly<Record<ReturnType<typeof standing>, string>> = { aim: 'good', reached: 'good', 'not reached': 'bad', 'not sound': 'bad', '': '' };

/** Writes the results as one page that needs nothing else. */
export function writeCharts(file: string, { method, tables, verdicts, curves }: Page): void {
  const jobs = tables.map((table) => ({ ...table, rows: table.rows.filter(({ cpuMicros }) => cpuMicros > 0) }));
  const data = {
    bars: jobs.map(({ rows }) => ({ labels: rows.map(({ name }) => name), values: rows.map(({ cpuMicros }) => cpuMicros) })),
    curves: curves.map((curve) => ({ ...curve, isLogarithmic: curve.title.includes('size') })),
  };
  const figure = (id: string, caption: string): string => `<figure><figcaption>${escape(caption)}</figcaption><div class="canvas"><canvas id="${id}" role="img" aria-label="${escape(caption)}"></canvas></div></figure>`;
  const row = (verdict: Verdict): string => {
    const { job, peer, measured, unit, reach, aim, flaw } = verdict;
    return `<tr><th scope="row">${escape(job)}</th><td>${escape(peer)}</td><td class="${classes[standing(verdict)]}">${measured.toFixed(2)} ${escape(unit)}${flaw === undefined ? '' : ` (not sound: ${escape(flaw)})`}</td><td>${reach ?? ''}</td><td>${aim ?? ''}</td></tr>`;
  };
  writeFileSync(file, `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>What a hop costs</title><style>${style}</style></head>
<body><header><h1>What a hop costs</h1><p class="lead">${escape(method)}</p></header><main>
<section><h2>What it must reach</h2><div class="scroll"><table><thead><tr><th>job</th><th>beside</th><th>measured</th><th>reach</th><th>aim</th></tr></thead><tbody>${verdicts.map(row).join('')}</tbody></table></div></section>
<section><h2>CPU per request</h2><div class="charts">${jobs.map(({ title, load }, index) => figure(`bar-${index}`, `${title} (${load})`)).join('')}</div></section>
<section><h2>As things grow</h2><div class="charts">${curves.map(({ title }, index) => figure(`curve-${index}`, title)).join('')}</div></section>
</main><script>${chartLibrary()}</script><script type="application/json" id="data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script><script>${script}</script></body></html>
`);
}
