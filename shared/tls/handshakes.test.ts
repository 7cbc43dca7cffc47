import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { Server } from 'node:tls';
import { test } from 'node:test';
import { Handshakes } from './handshakes.js';

test('a client may use its port towards two addresses of ours: what is known of the two connections is kept apart', () => {
  const handshakes = new Handshakes<string>();
  const server = new EventEmitter() as unknown as Server;
  const connection = (localAddress: string): Socket => Object.assign(new EventEmitter(), { remoteAddress: '127.0.0.1', remotePort: 40_000, localAddress, localPort: 443 }) as unknown as Socket;
  const [first, second] = [connection('127.0.0.1'), connection('127.0.0.2')];
  handshakes.begin(server, first, 'for 10.0.0.1');
  handshakes.begin(server, second, 'for 10.0.0.2');
  assert.deepEqual([handshakes.of(first), handshakes.of(second)], ['for 10.0.0.1', 'for 10.0.0.2']);
  first.emit('close');
  assert.deepEqual([handshakes.of(first), handshakes.of(second)], [undefined, 'for 10.0.0.2']);
});
