import type { Clock } from '../clock/clock.js';
import { describe } from '../errors/catalogue.js';
import type { TcpConnection } from '../tcp/tcp-connection.js';
import { refusalFields } from './access-log.js';
import { asciiJson, type LineWriter } from './line-writer.js';

/** One JSON line for each TCP connection, written when it is over. */
export function tcpAccessLog(writer: LineWriter, clock: Clock): (connection: TcpConnection) => void {
  return ({ exchange }) => {
    const { listener, clientAddress, peer, upstream, endpoint, errorCode, reason, attempts, requestBytes, responseBytes, startedAt, respondedAt } = exchange;
    const field = (name: string, value: string | undefined): string => (value === undefined ? '' : `,"${name}":${asciiJson(value)}`);
    const failure = errorCode === undefined ? '' : `,"code":"${errorCode}"${field('reason', reason)},"flags":"${describe(errorCode).flag}"`;
    const connected = respondedAt === undefined ? '' : `,"upstreamMs":${milliseconds(respondedAt - startedAt)}`;
    writer.write(
      `{"time":"${new Date(clock.wallNow()).toISOString()}","level":"info","listener":${asciiJson(listener)},"protocol":"tcp","client":${asciiJson(clientAddress)}${field('peer', peer?.id)}${failure}` +
        `${refusalFields(exchange.refusal)}${field('upstream', upstream)}${field('endpoint', endpoint)},"attempts":${attempts},"receivedBytes":${requestBytes},"sentBytes":${responseBytes},"durationMs":${milliseconds(exchange.finishedAt! - startedAt)}${connected}}\n`,
    );
  };
}

function milliseconds(ms: number): number {
  return Math.round(ms * 100) / 100;
}
