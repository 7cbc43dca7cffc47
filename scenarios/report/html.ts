import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { placements } from '../runner/claim.js';
import type { ClaimResult } from '../runner/run-claim.js';
import { count, mib, percent } from '../runner/format.js';
import type { ReportDocument } from './document.js';
import { script, style } from './page.js';

/** The report as one page that needs nothing else: styles, data and the chart library are in it. */
export function reportHtml(document: ReportDocument): string {
  const failed = document.claims.filter(({ verdict }) => verdict !== 'as expected');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ambassador or sidecar: measured</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>Ambassador or sidecar</h1>
<p class="lead">The same traffic and the same faults, with each concern placed nowhere, in an ambassador at the edge, in a sidecar beside each service, or in both.</p>
<p class="verdict ${failed.length === 0 ? 'good' : 'bad'}">${
    failed.length === 0 ? `All ${document.claims.length} claims came out as expected.` : `${failed.length} of ${document.claims.length} claims did not come out as expected: ${failed.map(({ title }) => escape(title)).join(', ')}.`
  }</p>
</header>
<nav>${document.claims.map(({ name, title, verdict }) => `<a href="#${name}"><span class="${verdict === 'as expected' ? 'good' : 'bad'}">${verdict === 'as expected' ? '✓' : '✗'}</span> ${escape(title)}</a>`).join('')}</nav>
<main>
${document.claims.map(claimSection).join('\n')}
${method(document)}
</main>
<script>${chartLibrary()}</script>
<script type="application/json" id="data">${JSON.stringify(chartData(document)).replaceAll('<', '\\u003c')}</script>
<script>${script}</script>
</body>
</html>
`;
}

function claimSection(claim: ClaimResult): string {
  if (claim.failure !== undefined) {
    return `<section id="${claim.name}">
<h2>${escape(claim.title)}</h2>
<p>${escape(claim.statement)}</p>
<p class="bad">It could not be put to the test: ${escape(claim.failure)}</p>
</section>`;
  }
  const rows = placements.map((placement, row) => {
    const expected = claim.expectations.filter((expectation) => expectation.placement === placement);
    return `<tr><th scope="row">${placement}</th>${claim.columns.map(({ values }) => `<td>${escape(values[row]!)}</td>`).join('')}<td class="text">${expected
      .map(({ text, holds, measured }) => `<span class="${holds ? 'good' : 'bad'}">${holds ? '✓' : '✗'}</span> ${escape(text)}<br><small>${escape(measured)}</small>`)
      .join('<br>')}</td></tr>`;
  });
  return `<section id="${claim.name}">
<h2>${escape(claim.title)}</h2>
<p>${escape(claim.statement)}</p>
<p class="reading">Reading of “ambassador”: ${escape(claim.reading)}</p>
${claim.unequal.map((reason) => `<p class="bad">Not comparable: ${escape(reason)}.</p>`).join('')}
<div class="scroll"><table><thead><tr><th>placement</th>${claim.columns.map(({ title }) => `<th>${escape(title)}</th>`).join('')}<th>expected, and measured</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>
<ul>${claim.sentences.map((sentence) => `<li>${escape(sentence)}</li>`).join('')}</ul>
<div class="charts">${claim.charts.map((chart, index) => `<figure><figcaption>${escape(chart.title)}</figcaption><div class="canvas"><canvas data-chart="${claim.name}/${index}" role="img" aria-label="${escape(chart.title)}"></canvas></div></figure>`).join('')}</div>
<details><summary>Offered and achieved, answers by status, cost of each process${claim.rounds > 1 ? `: of the last of ${claim.rounds} rounds; what stands above are medians over all` : ''}</summary>${loads(claim)}${costs(claim)}</details>
</section>`;
}

function loads(claim: ClaimResult): string {
  const rows = claim.variants.flatMap(({ placement, loads: all }) =>
    Object.entries(all).map(([name, { offeredRate, achievedRate, lateness, all: { offered, sent, succeeded, dropped, statuses, errors, latency } }]) => [
      placement, name, `${offeredRate.toFixed(1)}/s`, `${achievedRate.toFixed(1)}/s`, count(offered), count(sent), `${count(succeeded)} (${percent(offered === 0 ? 0 : succeeded / offered)})`, count(dropped),
      [...Object.entries(statuses), ...Object.entries(errors)].map(([kind, number]) => `${kind}: ${count(number)}`).join(', '),
      `${latency.p50} / ${latency.p90} / ${latency.p99} / ${latency.p999} / ${latency.max}`, String(lateness.p99),
    ]),
  );
  return table(['placement', 'load', 'offered', 'answered', 'requests', 'sent', 'below 400', 'dropped', 'answers', 'ms: p50 / p90 / p99 / p99.9 / max', 'sent late, p99 in ms'], rows);
}

function costs(claim: ClaimResult): string {
  const units = claim.variants[0]!.costs.map(({ unit }) => unit).filter((unit) => claim.variants.some(({ costs: all }) => all.find((cost) => cost.unit === unit)!.cpuMs > 20));
  const rows = units.map((unit) => [unit, ...claim.variants.map(({ costs: all }) => all.find((cost) => cost.unit === unit)!).map(({ cpuMs, residentBytes }) => `${count(cpuMs)} ms, ${mib(residentBytes)}`)]);
  return table(['CPU time over the whole variant, warm-up included; memory at its end', ...placements], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return `<div class="scroll"><table class="fine"><thead><tr>${head.map((title) => `<th>${escape(title)}</th>`).join('')}</tr></thead><tbody>${rows.map((row) => `<tr>${row.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`).join('')}</tbody></table></div>`;
}

function method({ machine, startedAt, durationMs, seed, mode, notes }: ReportDocument): string {
  const where = mode === 'embedded' ? 'as child processes on loopback' : 'in containers, each sidecar in its application’s network namespace';
  return `<section id="method">
<h2>How this was measured</h2>
<ul>
<li>On ${escape(machine.cpu)}, ${machine.cores} cores, ${mib(machine.memoryBytes)} of memory, ${escape(machine.platform)}, Node.js ${escape(machine.node)}; started ${escape(startedAt)}, took ${(durationMs / 1_000).toFixed(0)} s, seed ${seed}; ${where}.</li>
<li>Load, proxies and applications share these cores: compare the placements of this run with each other, not with another machine.</li>
<li>Requests are sent at a constant rate whatever becomes of them (open loop), and latency counts from the time at which a request should have been sent, so that queueing is not left out. How late they were sent is shown beside it: that much of a latency is the machine’s. A rate of answers counts those that came within the measured time. Percentiles come from HDR histograms of three digits. Each load has a warm-up that is not counted, where the phase is not itself the point.</li>
<li>CPU time and memory are each process’s own account (<code>process_cpu_seconds_total</code>, <code>process_resident_memory_bytes</code>).</li>
<li>The variants of a claim ran under the same rates, durations, seed, policies and versions; if they had not, the claim would say so and fail.</li>
<li>Two readings of “ambassador” stand in the literature: the gatekeeper in front of a system (gateway offloading), and the proxy that a client sends its outgoing calls through. Each claim names the one it shows.</li>
${notes.map((note) => `<li>${escape(note)}</li>`).join('')}
</ul>
</section>`;
}

function chartData(document: ReportDocument): Record<string, unknown> {
  return Object.fromEntries(
    document.claims.flatMap((claim) =>
      claim.charts.map((chart, index) => [
        `${claim.name}/${index}`,
        chart.kind === 'bars'
          ? { kind: 'bars', unit: chart.unit, labels: placements, series: chart.series.map(({ label, fact }) => ({ label, values: claim.variants.map(({ facts }) => facts[fact]) })) }
          : {
              kind: 'timeline',
              series: claim.variants.map(({ placement, loads: all }) => ({
                label: placement,
                points: all[chart.load]!.slices.map(({ atMs, offered, failed }) => ({ x: atMs / 1_000, y: offered === 0 ? 0 : failed / offered })),
              })),
            },
      ]),
    ),
  );
}

export function chartLibrary(): string {
  const file = createRequire(import.meta.url).resolve('chart.js').replace(/chart\.c?js$/, 'chart.umd.js');
  return readFileSync(file, 'utf8').replaceAll('</script', '<\\/script').replace(/\/\/# sourceMappingURL=.*$/m, '');
}

export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
