import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { encodeCommand, RespReader, type Reply } from './resp.js';

/*
 * Stands in for redis-server where there is none: keeps strings, writes them to a file to have them again after a crash, and
 * as a standby follows another twin. What it does not know it answers as Redis does, with an error.
 */

const maxKeys = 100_000;
const retryMs = 200;

interface Store {
  readonly values: Map<string, string>;
  readonly clients: Set<Socket>;
  readonly followers: Set<Socket>;
  hits: number;
  set(key: string, value: string): void;
}

/** Starts a twin: `HOST`, `PORT`, `FILE` to keep its values in, `REPLICA_OF` (host:port) for a standby. */
export async function startTwin({ HOST = '127.0.0.1', PORT = '0', FILE, REPLICA_OF }: NodeJS.ProcessEnv): Promise<void> {
  const store: Store = {
    values: new Map(),
    clients: new Set(),
    followers: new Set(),
    hits: 0,
    set(key, value) {
      this.values.set(key, value);
      // A lab's sessions never come near this; the oldest goes first.
      if (this.values.size > maxKeys) this.values.delete(this.values.keys().next().value!);
      for (const follower of this.followers) follower.write(encodeCommand(['SET', key, value]));
    },
  };
  if (FILE !== undefined && existsSync(FILE)) for (const command of new RespReader(Infinity).take(readFileSync(FILE))) apply(store, command);
  const server = createServer((socket) => serve(store, socket, FILE, REPLICA_OF !== undefined));
  await once(server.listen(Number(PORT), HOST), 'listening');
  if (REPLICA_OF !== undefined) follow(store, REPLICA_OF);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
}

function apply({ values }: Pick<Store, 'values'>, command: Reply): void {
  if (Array.isArray(command) && command[0] === 'SET') values.set(String(command[1]), String(command[2]));
}

function serve(store: Store, socket: Socket, file: string | undefined, isReadOnly: boolean): void {
  const reader = new RespReader();
  socket.on('error', () => socket.destroy());
  store.clients.add(socket);
  socket.on('close', () => {
    store.clients.delete(socket);
    store.followers.delete(socket);
  });
  socket.on('data', (data) => {
    try {
      for (const command of reader.take(data)) socket.write(answer(store, command as readonly string[], socket, file, isReadOnly));
    } catch {
      socket.end('-ERR Protocol error\r\n');
    }
  });
}

function answer(store: Store, [name = '', key = '', value = '']: readonly string[], socket: Socket, file: string | undefined, isReadOnly: boolean): string {
  switch (name.toUpperCase()) {
    case 'PING':
      return '+PONG\r\n';
    case 'GET': {
      const found = store.values.get(key);
      if (found === undefined) return '$-1\r\n';
      store.hits++;
      return `$${Buffer.byteLength(found)}\r\n${found}\r\n`;
    }
    case 'SET':
      if (isReadOnly) return "-READONLY You can't write against a read only replica.\r\n";
      if (file !== undefined) appendFileSync(file, encodeCommand(['SET', key, value]));
      store.set(key, value);
      return '+OK\r\n';
    case 'INFO': {
      const text = `keyspace_hits:${store.hits}\r\nused_memory_rss:${process.memoryUsage.rss()}\r\nused_cpu_user:${process.cpuUsage().user / 1e6}\r\nused_cpu_sys:${process.cpuUsage().system / 1e6}\r\n`;
      return `$${text.length}\r\n${text}\r\n`;
    }
    case 'CLIENT':
      // CLIENT KILL TYPE normal SKIPME yes, which is the only use of it in the shop.
      for (const other of store.clients) if (other !== socket && !store.followers.has(other)) other.destroy();
      return ':0\r\n';
    case 'SHUTDOWN':
      process.exit(0);
    // eslint-disable-next-line no-fallthrough -- the process has ended
    case 'FOLLOW':
      store.followers.add(socket);
      return [...store.values].map((entry) => encodeCommand(['SET', ...entry])).join('');
    default:
      return `-ERR unknown command '${name}'\r\n`;
  }
}

/** Takes over what the primary has and what it gets, for as long as it is there, and again when it is back. */
function follow(store: Store, primary: string): void {
  const [host, port] = primary.split(':');
  const socket = connect({ host: host!, port: Number(port) }, () => socket.write(encodeCommand(['FOLLOW'])));
  const reader = new RespReader();
  socket.on('data', (data) => reader.take(data).forEach((command) => apply(store, command)));
  socket.on('error', () => socket.destroy());
  socket.on('close', () => setTimeout(() => follow(store, primary), retryMs));
}
