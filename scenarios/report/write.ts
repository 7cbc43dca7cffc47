import { closeSync, existsSync, lstatSync, mkdirSync, mkdtempSync, openSync, renameSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { ReportDocument } from './document.js';
import { reportHtml } from './html.js';

/** Writes `report.html` and `results.json` into a folder of their own below `directory`, and points `latest` to it. */
export function writeReport(document: ReportDocument, directory: string): { html: string; json: string } {
  const folder = join(directory, document.startedAt.replace(/[:.]/g, '-'));
  mkdirSync(folder, { recursive: true });
  const paths = { html: join(folder, 'report.html'), json: join(folder, 'results.json') };
  writeFileSync(paths.json, JSON.stringify(document, null, 2));
  writeFileSync(paths.html, reportHtml(document));
  // Exchanged whole: who serves or reads `latest` meanwhile finds one of the two.
  const next = join(directory, `.latest-${process.pid}`);
  rmSync(next, { force: true });
  symlinkSync(basename(folder), next);
  renameSync(next, latestIn(directory));
  return paths;
}

/** Creates the folder of reports if there is none, and throws if `writeReport` could not write there. */
export function prepareReports(directory: string): void {
  mkdirSync(directory, { recursive: true });
  rmdirSync(mkdtempSync(join(directory, '.probe-')));
  latestIn(directory);
}

/** Creates the folder of a file if there is none, and throws if the file could not be written. What is in it stays. */
export function prepareFile(file: string): void {
  mkdirSync(dirname(file), { recursive: true });
  const isThere = existsSync(file);
  closeSync(openSync(file, 'a'));
  if (!isThere) rmSync(file);
}

/** The link to the newest report; throws if something else has its name. */
function latestIn(directory: string): string {
  const latest = join(directory, 'latest');
  const found = lstatSync(latest, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSymbolicLink()) throw new Error(`${latest} is no symbolic link, as that to the newest report would be: move it away`);
  return latest;
}
