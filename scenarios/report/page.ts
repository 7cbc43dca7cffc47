/** The report's looks, in light and dark. */
export const style = `
:root { color-scheme: light dark; --ink: #1c2230; --soft: #5a6478; --line: #dfe3ea; --paper: #fff; --tint: #f5f7fa; --good: #127a43; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf1; --soft: #9aa5b8; --line: #323a48; --paper: #151922; --tint: #1d232e; --good: #56c98a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
header, main { max-width: 68rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; }
h1 { font-size: 2.2rem; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 1.4rem; margin: 0 0 0.5rem; }
.lead { color: var(--soft); font-size: 1.1rem; max-width: 46rem; }
.verdict { font-weight: 600; font-size: 1.1rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
nav { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; padding: 0.7rem max(1.5rem, calc((100vw - 68rem) / 2 + 1.5rem)); background: var(--paper); border-bottom: 1px solid var(--line); font-size: 0.9rem; }
nav a { color: inherit; text-decoration: none; } nav a:hover { text-decoration: underline; }
section { padding: 2.2rem 0 1.2rem; border-bottom: 1px solid var(--line); scroll-margin-top: 3rem; }
section p { max-width: 50rem; } .reading { color: var(--soft); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.text { white-space: normal; min-width: 18rem; } thead th { color: var(--soft); font-weight: 600; font-size: 0.85rem; }
tbody tr:nth-child(even) { background: var(--tint); }
small { color: var(--soft); } .fine { font-size: 0.82rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; margin: 1rem 0; }
figure { margin: 0; padding: 1rem; border: 1px solid var(--line); border-radius: 0.6rem; background: var(--tint); }
figcaption { font-weight: 600; font-size: 0.9rem; margin-bottom: 0.5rem; } .canvas { position: relative; height: 16rem; }
summary { cursor: pointer; color: var(--soft); }
`;

/** Draws the charts. Runs in the browser, with Chart.js and the data in the page. */
export const script = `
const data = JSON.parse(document.getElementById('data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
Chart.defaults.color = dark ? '#9aa5b8' : '#5a6478';
Chart.defaults.borderColor = dark ? '#323a48' : '#dfe3ea';
Chart.defaults.font.family = 'system-ui, sans-serif';
Chart.defaults.animation = false;
// Okabe and Ito's palette: told apart by colour-blind readers too.
const colours = ['#0072b2', '#e69f00', '#009e73', '#cc79a7'];
for (const canvas of document.querySelectorAll('canvas')) {
  const chart = data[canvas.dataset.chart];
  const options = { responsive: true, maintainAspectRatio: false, plugins: { legend: { display: chart.series.length > 1, position: 'bottom' } } };
  if (chart.kind === 'bars') {
    new Chart(canvas, { type: 'bar', data: { labels: chart.labels, datasets: chart.series.map((series, index) => ({ label: series.label, data: series.values, backgroundColor: colours[index] })) },
      options: { ...options, scales: { y: { beginAtZero: true, title: { display: chart.unit !== '', text: chart.unit } } } } });
  } else {
    new Chart(canvas, { type: 'line', data: { datasets: chart.series.map((series, index) => ({ label: series.label, data: series.points, borderColor: colours[index], backgroundColor: colours[index], pointRadius: 0, borderWidth: 2, stepped: true })) },
      options: { ...options, parsing: true, scales: { x: { type: 'linear', title: { display: true, text: 'seconds' } }, y: { min: 0, max: 1, ticks: { format: { style: 'percent' } } } } } });
  }
}
`;
