import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { TestMesh } from '../support/mesh.js';
import { until } from '../support/until.js';
import { httpOrigin } from '../support/origin.js';
import { portIn } from '../support/process.js';

const listen = { host: '127.0.0.1', port: 0 };

/** One client that takes each connection's certificate and roots from the files as they are at the moment. */
class MeshClient {
  readonly failures: string[] = [];
  /** Serial numbers of the server's certificates, and ours. */
  readonly seen = { server: new Set<string>(), own: new Set<string>(), issuers: new Set<string>() };
  done = 0;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;

  constructor(port: number, directory: string, expected: string) {
    // Kept-alive connections outlive renewals: every fourth loop keeps its connection for as long as it lasts.
    this.#running = Promise.all(Array.from({ length: 8 }, (_, index) => this.#loop(port, directory, expected, index % 4 === 0 ? Infinity : 20)));
  }

  #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #loop(port: number, directory: string, expected: string, perConnection: number): Promise<void> {
    while (!this.#isStopped()) {
      const pem = readFileSync(join(directory, 'identity.pem'));
      this.seen.own.add(new X509Certificate(pem).serialNumber);
      const agent = new Agent({
        keepAlive: true, maxSockets: 1, cert: pem, key: pem, ca: readFileSync(join(directory, 'bundle.pem')), minVersion: 'TLSv1.3', maxCachedSessions: 0,
        checkServerIdentity: (_host, certificate) => {
          this.seen.server.add(certificate.serialNumber);
          this.seen.issuers.add(JSON.stringify(certificate.issuer));
          return certificate.subjectaltname === `URI:${expected}` ? undefined : new Error(`it is ${certificate.subjectaltname ?? 'nobody'}`);
        },
      });
      for (let sent = 0; sent < perConnection && !this.#isStopped(); sent++) {
        await this.#once(port, agent).then(() => this.done++, (error: unknown) => this.failures.push(String(error)));
        await sleep(20);
      }
      agent.destroy();
    }
  }

  #once(port: number, agent: Agent): Promise<void> {
    return new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, agent, path: '/', timeout: 10_000 }, (response) => {
        response.resume().on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(String(response.statusCode))))).on('error', reject);
      });
      sent.on('error', reject).on('timeout', () => sent.destroy(new Error('timed out'))).end();
    });
  }
}

describe('renewal and rotation under load', { timeout: 110_000 }, () => {
  test('lose no request, with the control plane killed between the stages', async (t) => {
    // Proxies read changed files every five seconds: the shortest life and overlap that leave room for that.
    const mesh = new TestMesh({ certificateLifetime: '24s', bundleRefresh: '1s', overlap: '12s', clockSkew: '1s', joinTokenMaxTtl: '20s', renewalGrace: '0s' });
    const closers = [() => mesh.close()];
    t.after(async () => {
      for (const close of closers.reverse()) await close();
    });
    await mesh.start();
    const app = await httpOrigin((_request, response) => response.end('hello'));
    closers.push(() => app.close());
    const [orders, billing] = [mesh.newDirectory(), mesh.newDirectory()];
    const first = mesh.sidecar('orders', { directory: orders, joinTokenFile: mesh.file(await mesh.joinToken('orders')) });
    const caller = mesh.sidecar('billing', { directory: billing, joinTokenFile: mesh.file(await mesh.joinToken('billing')) });
    await Promise.all([first.logged('ready'), caller.logged('ready')]);
    await first.stop();
    const server = mesh.sidecar('orders', { directory: orders }, { inbound: { listen, app: `127.0.0.1:${app.port}` }, accessLog: false });
    const port = portIn(await server.logged('ready'), 'inbound');
    const client = new MeshClient(port, billing, 'spiffe://shop.internal/ns/default/sa/orders');
    closers.push(() => client.stop());

    const stages = async (): Promise<string> => ((await mesh.ask('GET', '/v1/ca')).body['authorities'] as { stage: string }[]).map(({ stage }) => stage).join(' ');
    const restart = async (): Promise<void> => {
      await mesh.kill();
      // Away for a while, as long as nobody's certificate ends: nothing may stop for that.
      await sleep(1_000);
      await mesh.start();
    };
    assert.equal((await mesh.ask('POST', '/v1/ca/rotate', {})).status, 202);
    assert.equal((await mesh.ask('POST', '/v1/ca/rotate', {})).status, 409);
    for (const expected of ['signing published', 'retired signing', 'signing']) {
      await until(async () => (await stages()) === expected);
      await restart();
      assert.equal(await stages(), expected);
    }
    // All of both is under the new root now, and stays so for another renewal.
    await caller.logged('a certificate is in force', caller.stderr.split('a certificate is in force').length);
    await client.stop();
    assert.deepEqual(client.failures, [], `of ${client.done} requests`);
    assert.ok(client.done > 200, `only ${client.done} requests`);
    assert.ok(client.seen.server.size >= 3 && client.seen.own.size >= 3, `${client.seen.server.size} and ${client.seen.own.size} certificates were seen`);
    assert.equal(client.seen.issuers.size, 2, 'certificates of both roots were seen');
  });

  test('a certificate that lives for seconds is renewed again and again, each before half of its life is left', async (t) => {
    const mesh = new TestMesh({ certificateLifetime: '4s', bundleRefresh: '1s', joinTokenMaxTtl: '20s' });
    t.after(() => mesh.close());
    await mesh.start();
    const directory = mesh.newDirectory();
    const sidecar = mesh.sidecar('orders', { directory, joinTokenFile: mesh.file(await mesh.joinToken('orders')) });
    const issued = async (count: number): Promise<{ time: number; expiresAt: number; serial: string }> => {
      const { time, expiresAt, serial } = await sidecar.logged('a certificate is in force', count);
      return { time: time as number, expiresAt: Date.parse(expiresAt as string), serial: serial as string };
    };
    const serials = new Set<string>();
    for (let count = 1; count <= 8; count++) {
      const { expiresAt, serial } = await issued(count);
      const next = await issued(count + 1);
      // Certificates say whole seconds, and this machine may be slow: but none may come close to its end.
      assert.ok(expiresAt - next.time > 500, `${expiresAt - next.time} ms were left at renewal ${count}`);
      serials.add(serial);
    }
    assert.equal(serials.size, 8);
    assert.doesNotMatch(sidecar.stderr, /could not be renewed/);
  });

  test('a proxy that could not renew in time says so loudly, goes on trying, and gets back with a new token', async (t) => {
    const mesh = new TestMesh({ certificateLifetime: '3s', bundleRefresh: '1s', joinTokenMaxTtl: '20s' });
    t.after(() => mesh.close());
    await mesh.start();
    const directory = mesh.newDirectory();
    const joinTokenFile = mesh.file(await mesh.joinToken('orders'));
    const sidecar = mesh.sidecar('orders', { directory, joinTokenFile });
    await sidecar.logged('ready');
    await mesh.kill();
    await sidecar.logged('THE CERTIFICATE HAS EXPIRED and could not be renewed: nobody in the mesh believes this proxy; trying on');
    const before = new X509Certificate(readFileSync(join(directory, 'identity.pem'))).serialNumber;
    await mesh.start();
    await until(() => sidecar.stderr.includes('a new join token or a workload token is needed'));
    writeFileSync(joinTokenFile, await mesh.joinToken('orders'));
    await until(() => new X509Certificate(readFileSync(join(directory, 'identity.pem'))).serialNumber !== before);
    assert.equal(sidecar.child.exitCode, null);
  });
});
