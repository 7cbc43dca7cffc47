import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import * as tls from 'node:tls';

/*
 * What Node.js itself costs: bytes from one socket to another, mutual TLS between two of these, and nothing that looks at them. No proxy
 * on node:net and node:tls can cost less. Arguments: client or server, the port to listen on, the one to pass on to, ca, certificate, key.
 */

const [role, listen, to, ca, cert, key] = process.argv.slice(2) as [string, string, string, string, string, string];
const credentials = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };

function join(from: Socket, onward: Socket): void {
  for (const [one, other] of [[from, onward], [onward, from]] as const) {
    one.on('data', (data) => other.write(data));
    one.on('error', () => {});
    one.on('close', () => other.destroy());
  }
}

if (role === 'client') {
  createServer({ noDelay: true }, (socket) => {
    const onward = tls.connect({ ...credentials, port: Number(to), host: '127.0.0.1', servername: 'localhost' });
    onward.setNoDelay(true);
    join(socket, onward);
  }).listen(Number(listen), '127.0.0.1');
} else {
  tls.createServer({ ...credentials, requestCert: true, rejectUnauthorized: true, noDelay: true }, (socket) => {
    join(socket, connect({ port: Number(to), host: '127.0.0.1', noDelay: true }));
  }).listen(Number(listen), '127.0.0.1');
}
