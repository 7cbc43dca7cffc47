import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ReportDocument } from './document.js';
import { reportHtml } from './html.js';

/** Writes `report.html` and `results.json` into a folder of their own below `directory`, and points `latest` to it. */
export function writeReport(document: ReportDocument, directory: string): { html: string; json: string } {
  const folder = join(directory, document.startedAt.replace(/[:.]/g, '-'));
  mkdirSync(folder, { recursive: true });
  const paths = { html: join(folder, 'report.html'), json: join(folder, 'results.json') };
  writeFileSync(paths.json, JSON.stringify(document, null, 2));
  writeFileSync(paths.html, reportHtml(document));
  const latest = join(directory, 'latest');
  rmSync(latest, { recursive: true, force: true });
  symlinkSync(basename(folder), latest);
  return paths;
}
