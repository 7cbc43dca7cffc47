import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { httpOrigin } from '../../tests/support/origin.js';
import { FakeClock } from '../clock/fake-clock.js';
import { ConfigError } from '../config/load.js';
import { silentLogger, type Logger } from '../telemetry/logger.js';
import { PemStore } from '../tls/pem-store.js';
import { ControlPlaneLink } from './control-plane-link.js';
import { TokenFile } from './token-file.js';

function tokenFile(context: TestContext, contents?: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'token-test-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'token');
  if (contents !== undefined) writeFileSync(path, contents);
  return path;
}

test('each request shows the token that the file holds by then, or held when it last held one', async (context) => {
  const shown: (string | undefined)[] = [];
  const plane = await httpOrigin((request, response) => {
    shown.push(request.headers.authorization);
    response.end();
  });
  const clock = new FakeClock();
  const pems = new PemStore(clock);
  const path = tokenFile(context, 'first\n');
  const told: string[] = [];
  const logger: Logger = Object.assign(Object.create(silentLogger) as Logger, { error: (_about: object, message: string) => told.push(message) });
  const link = new ControlPlaneLink({ urls: [`http://127.0.0.1:${plane.port}`], tokenFile: path, pems, clock, random: () => 0, logger });
  context.after(async () => {
    link.close();
    pems.close();
    await plane.close();
  });
  const ask = async (): Promise<void> => (await link.ask(link.url, '/', { signal: new AbortController().signal })).discard();
  await ask();
  for (const contents of ['second', 'two\nlines', 'third\r\n']) {
    writeFileSync(path, contents);
    await pems.refresh();
    await ask();
  }
  rmSync(path);
  await pems.refresh();
  await ask();
  writeFileSync(path, 'fourth');
  await pems.refresh();
  await ask();
  assert.deepEqual(shown, ['first', 'second', 'second', 'third', 'third', 'fourth'].map((token) => `Bearer ${token}`));
  assert.deepEqual(told, ['the new token for the control plane cannot be used; the old one stays']);
});

test('without a token at the start, what is wrong with the file is named', (context) => {
  const cases: readonly (readonly [contents: string | undefined, message: RegExp])[] = [
    [undefined, /token: controlPlane\.tokenFile: the file cannot be read \(ENOENT\)$/],
    ['', /token: controlPlane\.tokenFile: expected one line/],
    ['two\nlines\n', /expected one line/],
    ['with a space', /expected one line/],
    ['grüezi', /expected one line/],
  ];
  const pems = new PemStore(new FakeClock());
  for (const [contents, message] of cases) assert.throws(() => new TokenFile(tokenFile(context, contents), pems, silentLogger), (error) => error instanceof ConfigError && message.test(error.message), contents ?? 'no file');
  pems.close();
});
