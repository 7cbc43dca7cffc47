import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../deploy/interception/intercept.sh', import.meta.url));
const sidecarEntry = fileURLToPath(new URL('../../sidecar/main.js', import.meta.url));

function missing(): string | false {
  if (process.getuid?.() !== 0) return 'network namespaces take root';
  for (const tool of ['ip', 'iptables', 'setpriv', 'unshare']) if (spawnSync(tool, ['--version']).error !== undefined) return `${tool} is not installed`;
  if (spawnSync('unshare', ['-n', 'iptables', '-w', '-t', 'nat', '-L', '-n']).status !== 0) return 'network namespaces with rules of their own cannot be had here';
  return false;
}

/** The application's user; the sidecar is root, since anybody else may not be able to read what it consists of. */
const stranger = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
const app = `intercept-${process.pid}-app`;
const world = `intercept-${process.pid}-world`;
const children: ChildProcess[] = [];

function run(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Starts something in a namespace; resolves once it has said `ready`, with a function that waits until it says something else. */
async function start(namespace: string, command: readonly string[]): Promise<(pattern: RegExp) => Promise<void>> {
  const child = spawn('ip', ['netns', 'exec', namespace, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let said = '';
  let wake: (() => void) | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      said += data.toString();
      wake?.();
    });
  }
  child.once('exit', () => wake?.());
  const until = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(said)) {
      assert.equal(child.exitCode, null, said);
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  await until(/ready/);
  return until;
}

interface Settings {
  readonly [name: string]: string;
}

function intercept(word: string, settings: Settings = {}): { status: number | null; stdout: string } {
  return spawnSync('ip', ['netns', 'exec', app, 'sh', script, word], { encoding: 'utf8', env: { ...process.env, PROXY_UID: '0', ...settings } });
}

const get = (url: string): string => `
  require('http').get(${JSON.stringify(url)}, { agent: false }, (response) => {
    let body = '';
    response.on('data', (data) => (body += data)).on('end', () => console.log(response.statusCode + ' ' + body));
  }).on('error', (error) => console.log(error.code));`;

/** What somebody in a namespace sees who asks for a URL, and knows of no proxy. */
function ask(namespace: string, url: string, as: readonly string[] = stranger): string {
  return run('ip', 'netns', 'exec', namespace, ...as, process.execPath, '-e', get(url)).trim();
}

const echoServers = (name: string, host: string, ports: readonly number[]): string => `
  const reply = (request, response) => response.end('${name} got ' + request.headers.host + ' via ' + request.headers.via);
  Promise.all(${JSON.stringify(ports)}.map((port) => new Promise((resolve) => require('http').createServer(reply).listen(port, '${host}', resolve)))).then(() => console.log('ready'));`;

describe('interception in a network namespace', { skip: missing() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'interception-test-'));
  const files = join('/etc/netns', app);
  let untilSidecarSays: (pattern: RegExp) => Promise<void>;

  before(async () => {
    for (const namespace of [app, world]) {
      run('ip', 'netns', 'add', namespace);
      run('ip', '-n', namespace, 'link', 'set', 'lo', 'up');
    }
    run('ip', 'link', 'add', 'veth0', 'netns', app, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', world);
    run('ip', '-n', app, 'address', 'add', '10.99.0.1/24', 'dev', 'veth0');
    for (const address of ['10.99.0.2/24', '10.99.0.77/24']) run('ip', '-n', world, 'address', 'add', address, 'dev', 'veth0');
    for (const namespace of [app, world]) run('ip', '-n', namespace, 'link', 'set', 'veth0', 'up');
    // `ip netns exec` shows these to what it runs, in place of those of the machine.
    mkdirSync(files, { recursive: true });
    writeFileSync(join(files, 'hosts'), '127.0.0.1 localhost\n10.99.0.77 inventory other.example\n127.0.0.1 trap.example\n10.99.0.1 self.example\n');

    await start(world, [process.execPath, '-e', echoServers('origin', '0.0.0.0', [9000, 9090])]);
    await start(world, [process.execPath, '-e', "require('net').createServer((socket) => socket.end('db')).listen(5432, '0.0.0.0', () => console.log('ready'))"]);
    await start(app, [...stranger, process.execPath, '-e', echoServers('app', '127.0.0.1', [3000])]);
    const config = join(directory, 'sidecar.json');
    writeFileSync(config, JSON.stringify({
      service: 'orders',
      inbound: { listen: { host: '0.0.0.0', port: 15_006 }, app: '127.0.0.1:3000' },
      outbound: { listen: { host: '127.0.0.1', port: 15_001 }, unknownHosts: 'passthrough' },
      tcp: [{ listen: { host: '127.0.0.1', port: 15_432 }, upstream: 'db' }],
      admin: { host: '0.0.0.0', port: 15_000 },
      upstreams: { inventory: { endpoints: ['10.99.0.2:9000'] }, db: { endpoints: ['10.99.0.2:5432'] } },
    }));
    untilSidecarSays = await start(app, [process.execPath, sidecarEntry, '--config', config]);
  });

  after(async () => {
    const exited = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null).map((child) => {
      child.kill('SIGKILL');
      return once(child, 'exit');
    });
    await Promise.all(exited);
    for (const namespace of [app, world]) spawnSync('ip', ['netns', 'delete', namespace]);
    rmSync(files, { recursive: true, force: true });
    rmSync(directory, { recursive: true, force: true });
  });

  const untouched = '200 origin got inventory:9000 via undefined';
  const throughSidecar = /^200 origin got inventory:9000 via 1\.1 sidecar \(.+\)$/;

  test('without it a request goes straight to where its name leads', () => {
    assert.equal(intercept('status').status, 1);
    assert.equal(ask(app, 'http://inventory:9000/'), untouched);
  });

  test('settings that are wrong are named, and set nothing', () => {
    const { status, stderr } = spawnSync('ip', ['netns', 'exec', app, 'sh', script, 'up'], { encoding: 'utf8', env: { ...process.env, PROXY_UID: '', OPAQUE_PORTS: '5432', EXCLUDE_OUTBOUND_PORTS: '99999', EXCLUDE_OUTBOUND_CIDRS: '$(reboot)' } });
    assert.equal(status, 64);
    for (const name of ['PROXY_UID', 'OPAQUE_PORTS', 'EXCLUDE_OUTBOUND_PORTS', 'EXCLUDE_OUTBOUND_CIDRS']) assert.match(stderr, new RegExp(`intercept: ${name}: `));
    assert.equal(intercept('status').status, 1);
  });

  test('set anew without IPv6, it leaves none of its rules there', (context) => {
    if (spawnSync('ip', ['netns', 'exec', app, 'ip6tables', '-w', '-t', 'nat', '-S']).status !== 0) return context.skip('there is no ip6tables');
    assert.equal(intercept('up', { IPV6: 'on' }).status, 0);
    const rules = (): string => run('ip', 'netns', 'exec', app, 'ip6tables', '-t', 'nat', '-S');
    assert.match(rules(), /SIDECAR/);
    assert.equal(intercept('up', { IPV6: 'off' }).status, 0);
    assert.doesNotMatch(rules(), /SIDECAR/);
    return undefined;
  });

  test('with it the same request goes through the sidecar, and so does one to a host that it was not told of', async () => {
    const settings = { OPAQUE_PORTS: '5432:15432', EXCLUDE_OUTBOUND_PORTS: '9090' };
    assert.equal(intercept('up', settings).status, 0);
    const rules = intercept('status').stdout;
    // Once more changes nothing.
    assert.equal(intercept('up', settings).status, 0);
    assert.equal(intercept('status').stdout, rules);
    assert.equal(run('ip', 'netns', 'exec', app, 'iptables', '-t', 'nat', '-S', 'OUTPUT').match(/SIDECAR_OUTBOUND/g)!.length, 1);
    assert.match(ask(app, 'http://inventory:9000/'), throughSidecar);
    assert.match(ask(app, 'http://other.example:9000/'), /^200 origin got other\.example:9000 via 1\.1 sidecar/);
    assert.match(ask(app, 'http://10.99.0.77:9000/'), /^200 origin got 10\.99\.0\.77:9000 via 1\.1 sidecar/);
    await untilSidecarSays(/"authority":"other\.example:9000".*"route":"passthrough","upstream":"passthrough","endpoint":"10\.99\.0\.77:9000"/);
  });

  test('the sidecar’s own traffic is left alone, and so are ports that are excluded, and loopback', () => {
    assert.equal(ask(app, 'http://inventory:9000/', []), untouched);
    assert.equal(ask(app, 'http://inventory:9090/'), '200 origin got inventory:9090 via undefined');
    assert.equal(ask(app, 'http://127.0.0.1:3000/'), '200 app got 127.0.0.1:3000 via undefined');
  });

  test('what is not HTTP goes to the listener of its port', async () => {
    const said = run('ip', 'netns', 'exec', app, ...stranger, process.execPath, '-e', "require('net').connect(5432, '10.99.0.77').on('data', (data) => console.log(String(data)))");
    assert.equal(said.trim(), 'db');
    await untilSidecarSays(/"listener":"tcp-db","protocol":"tcp","client":"10\.99\.0\.1".*"endpoint":"10\.99\.0\.2:5432"/);
  });

  test('what comes in goes through the sidecar, but for its admin server', () => {
    assert.match(ask(world, 'http://10.99.0.1:3000/orders'), /^200 app got 10\.99\.0\.1:3000 via 1\.1 sidecar$/);
    assert.match(ask(world, 'http://10.99.0.1:15000/healthz'), /^200 \{"status":"ok"\}/);
  });

  test('a host that leads back to this machine is refused: nothing goes round', () => {
    // As the application would ask whose address the DNS turned into ours.
    const to = (authority: string): string => run('ip', 'netns', 'exec', app, process.execPath, '-e', get('http://127.0.0.1:15001/').replace('{ agent: false }', `{ agent: false, headers: { host: '${authority}' } }`));
    assert.match(to('trap.example:9000'), /^404 .*"code":"no_route"/);
    assert.match(to('self.example:15006'), /^508 .*"code":"loop_detected"/);
    assert.match(to('nowhere.invalid'), /^503 .*"code":"no_endpoint"/);
  });

  test('undone, it is as it was before; undone again, too', () => {
    for (let time = 0; time < 2; time++) assert.equal(intercept('down').status, 0);
    assert.equal(intercept('status').status, 1);
    assert.doesNotMatch(run('ip', 'netns', 'exec', app, 'iptables', '-t', 'nat', '-S'), /SIDECAR/);
    assert.equal(ask(app, 'http://inventory:9000/'), untouched);
    assert.equal(ask(world, 'http://10.99.0.1:3000/'), 'ECONNREFUSED');
  });
});
