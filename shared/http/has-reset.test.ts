import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { test } from 'node:test';
import { TestAuthority } from '../../tests/support/certificates.js';
import { hasReset } from './has-reset.js';

test('a connection of TLS on a Unix domain socket, which has no peer by address, was not reset', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const { cert, key } = await authority.issue('server', { ip: ['127.0.0.1'] });
  const directory = mkdtempSync(join(tmpdir(), 'has-reset-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'listener');
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }).listen(path);
  context.after(() => server.close());
  await once(server, 'listening');
  const client = connect({ path, host: '127.0.0.1', ca: readFileSync(authority.ca) });
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket];
  assert.equal(hasReset(socket), false);
  client.destroy();
  socket.destroy();
});
