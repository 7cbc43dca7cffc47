import { createServer, type Socket } from 'node:net';

/*
 * The cheapest origin there is: it answers every read that ends a head, `/bytes/N` with N bytes and everything else with the
 * same 50 bytes of JSON. Arguments: the number of ports to listen on, and the first of them; 0 takes free ones. Prints them.
 */

const json = JSON.stringify({ ok: true, padding: 'x'.repeat(25) });
const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`);
const answers = new Map<string, Buffer>();

function answerOf(size: string): Buffer {
  let known = answers.get(size);
  if (known === undefined) answers.set(size, (known = Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${size}\r\n\r\n`), Buffer.alloc(Number(size), 'x')])));
  return known;
}

function serve(socket: Socket): void {
  socket.on('error', () => {});
  socket.on('data', (data) => {
    if (data.subarray(-4).toString('latin1') !== '\r\n\r\n') return;
    const size = data[5] === 98 ? /^GET \/bytes\/(\d+) /.exec(data.toString('latin1', 0, 40))?.[1] : undefined;
    socket.write(size === undefined ? answer : answerOf(size));
  });
}

const count = Number(process.argv[2] ?? 1);
const ports = await Promise.all(
  Array.from({ length: count }, () => new Promise<number>((resolve) => {
    const server = createServer({ noDelay: true }, serve).listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  })),
);
process.stdout.write(`${JSON.stringify(ports)}\n`);
