import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { decode, encode, TRUNCATED_RESPONSE, type Answer, type Packet } from 'dns-packet';

const rcodes = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;

/** An authoritative server of a handful of records on loopback, over UDP and TCP, that also does everything wrong that the test asks for. */
export class TestDnsServer {
  readonly port: number;
  /** What is answered, by `TYPE name`; names without records do not exist. */
  readonly records = new Map<string, Answer[]>();
  /** What is answered instead. */
  rcode: keyof typeof rcodes = 'NOERROR';
  /** Questions of these types get no answer at all; `true`: none does. */
  silent: readonly string[] | boolean = false;
  /** Questions, as `TYPE name`, that the server fails to answer. */
  failing: readonly string[] = [];
  /** Answers by UDP are cut. */
  truncates = false;
  /** Datagrams that are sent before, or instead of, the true answer. */
  tampers: ((answer: Buffer, query: Packet) => Buffer[]) | undefined;
  /** What the answer by TCP is made into; `undefined` closes the connection. */
  tampersTcp: ((answer: Buffer) => Buffer | undefined) | undefined;
  /** Questions so far, as `udp TYPE name`. */
  readonly asked: string[] = [];
  readonly connections = new Set<Socket>();

  private constructor(
    private readonly udp: UdpSocket,
    private readonly tcp: Server,
  ) {
    this.port = udp.address().port;
    udp.on('message', (message, from) => {
      for (const datagram of this.#answer(message, 'udp')) udp.send(datagram, from.port, from.address);
    });
    tcp.on('connection', (socket) => {
      this.connections.add(socket);
      socket.on('error', () => {}).on('close', () => this.connections.delete(socket));
      socket.once('data', (data) => {
        const [answer] = this.#answer(data.subarray(2), 'tcp');
        if (answer === undefined) return;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        const whole = Buffer.concat([length, answer]);
        const sent = this.tampersTcp === undefined ? whole : this.tampersTcp(whole);
        if (sent === undefined) socket.end();
        // In two pieces, as a large answer comes.
        else socket.write(sent.subarray(0, 1), () => socket.write(sent.subarray(1)));
      });
    });
  }

  static async start(): Promise<TestDnsServer> {
    for (;;) {
      const tcp = createServer().listen(0, '127.0.0.1');
      await once(tcp, 'listening');
      const udp = createSocket('udp4');
      udp.bind((tcp.address() as AddressInfo).port, '127.0.0.1');
      try {
        await once(udp, 'listening');
        return new TestDnsServer(udp, tcp);
      } catch {
        // Somebody else has that port for UDP.
        tcp.close();
      }
    }
  }

  set(type: 'A' | 'AAAA', name: string, addresses: readonly string[], ttl = 1): void {
    this.records.set(`${type} ${name}`, addresses.map((data) => ({ type, name, data, ttl })));
  }

  setServices(name: string, services: readonly { target: string; port: number; priority?: number; weight?: number }[], ttl = 1): void {
    this.records.set(`SRV ${name}`, services.map((data) => ({ type: 'SRV', name, ttl, data })));
  }

  async close(): Promise<void> {
    this.udp.close();
    for (const socket of this.connections) socket.destroy();
    await new Promise((resolve) => this.tcp.close(resolve));
  }

  #answer(message: Buffer, transport: 'udp' | 'tcp'): Buffer[] {
    const query = decode(message);
    const [question] = query.questions!;
    const { type, name } = question!;
    this.asked.push(`${transport} ${type} ${name}`);
    if (this.silent === true || (Array.isArray(this.silent) && this.silent.includes(type))) return [];
    const exists = [...this.records.keys()].some((key) => key.endsWith(` ${name}`));
    const rcode = this.rcode !== 'NOERROR' ? this.rcode : this.failing.includes(`${type} ${name}`) ? 'SERVFAIL' : exists ? 'NOERROR' : 'NXDOMAIN';
    const isCut = this.truncates && transport === 'udp';
    const answer = encode({
      type: 'response',
      id: query.id!,
      flags: rcodes[rcode] | (isCut ? TRUNCATED_RESPONSE : 0),
      questions: query.questions!,
      answers: rcode === 'NOERROR' && !isCut ? (this.records.get(`${type} ${name}`) ?? []) : [],
    });
    return this.tampers === undefined || transport === 'tcp' ? [answer] : this.tampers(answer, query);
  }
}
