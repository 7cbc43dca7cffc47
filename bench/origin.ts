import { createServer } from 'node:net';

/** The cheapest origin there is: it answers every read that ends a head with the same 50 bytes of JSON. */
const body = JSON.stringify({ ok: true, padding: 'x'.repeat(25) });
const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);

createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  socket.on('data', (data) => {
    if (data.subarray(-4).toString('latin1') === '\r\n\r\n') socket.write(answer);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
