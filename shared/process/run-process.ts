import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command, CommanderError } from 'commander';
import type { z } from 'zod';
import { systemClock, type Clock } from '../clock/clock.js';
import { jsonSchemaOf } from '../config/json-schema.js';
import { ConfigError, loadConfig, type CrossCheck } from '../config/load.js';
import { createLogger, writeToStderr, type Logger } from '../telemetry/logger.js';
import { earlyHangup } from './early-hangup.js';
import { endWithReader } from './end-with-reader.js';
import { Lifecycle } from './lifecycle.js';
import { oneAtATime } from './one-at-a-time.js';
import { packageVersion } from './version.js';
import { letYoungGenerationGrow } from './young-generation.js';

/** Exit codes, after sysexits.h. */
export const exitCodes = { ok: 0, usage: 64, software: 70, unavailable: 69 } as const;

/** What every process configures. */
export interface ProcessConfig {
  readonly logLevel: string;
  readonly drainTimeout: number;
  readonly drainDelay: number;
}

export interface ProcessContext<T = unknown> {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  /** The configuration's JSON Schema. */
  readonly schema: () => unknown;
  readonly version: string;
  /** What SIGHUP does with the file that was read again, and found right; rejects with what is in the way. One that comes while the process starts waits for that. */
  readonly onReload: (reload: (config: T) => Promise<void>) => void;
  /** Has the process drain and exit, as its first signal does; what drains already goes on. */
  readonly drain: () => void;
}

interface ProcessDefinition<T extends ProcessConfig> {
  readonly name: string;
  readonly description: string;
  readonly schema: z.ZodType<T>;
  readonly crossCheck?: CrossCheck;
  /** Opens everything. What was registered for closing is closed if it rejects. */
  readonly start: (config: T, context: ProcessContext<T>) => Promise<void>;
}

/**
 * The life of a process, the same for all of ours: reads `--config`, names every problem and exits 64 before any port
 * opens; starts; on SIGTERM or SIGINT drains and exits 0; on a second signal exits at once, whatever is in flight; on a defect that
 * nobody caught logs it and exits 70, since what state it left behind is unknown. On SIGHUP the file is read again, and once
 * more after that for all that come meanwhile.
 */
export async function runProcess<T extends ProcessConfig>(definition: ProcessDefinition<T>, argv: readonly string[] = process.argv): Promise<void> {
  const version = packageVersion();
  const command = new Command(definition.name)
    .description(definition.description)
    .version(version)
    .option('--config <file>', 'configuration, YAML or JSON')
    .option('--check', 'validate the configuration and exit')
    .option('--print-schema', 'print the JSON Schema of the configuration and exit')
    .allowExcessArguments(false)
    .exitOverride();
  const schema = (): unknown => jsonSchemaOf(definition.schema, definition.name);
  try {
    command.parse(argv);
  } catch (error) {
    process.exitCode = error instanceof CommanderError && error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return;
  }
  const options = command.opts<{ config?: string; check?: boolean; printSchema?: boolean }>();
  if (options.printSchema === true) {
    endWithReader();
    process.stdout.write(`${JSON.stringify(schema(), null, 2)}\n`);
    return;
  }
  const config = await readConfig(definition, options.config);
  if (config === undefined || options.check === true) return;
  await live(definition, config, { schema, version, read: () => loadConfig(options.config!, definition.schema, definition.crossCheck) });
}

async function readConfig<T extends ProcessConfig>({ name, schema, crossCheck }: ProcessDefinition<T>, file: string | undefined): Promise<T | undefined> {
  try {
    if (file === undefined) throw new ConfigError([{ path: '', message: 'no configuration was given; use --config FILE' }], name);
    return await loadConfig(file, schema, crossCheck);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    writeToStderr(`${error.message}\n`);
    process.exitCode = exitCodes.usage;
    return undefined;
  }
}

async function live<T extends ProcessConfig>(definition: ProcessDefinition<T>, config: T, { schema, version, read }: { schema: () => unknown; version: string; read: () => Promise<T> }): Promise<void> {
  const logger = createLogger({ name: definition.name, level: config.logLevel });
  const clock = systemClock;
  const lifecycle = new Lifecycle({ clock, logger, drainDelayMs: config.drainDelay, drainTimeoutMs: config.drainTimeout });

  const die = exitOnDefects(logger);
  leaveSigusr1Alone();
  let reload: ((config: T) => Promise<void>) | undefined;
  let setStarted: () => void;
  const started = new Promise<void>((resolve) => (setStarted = resolve));
  const hangUp = oneAtATime(async () => {
    await started;
    if (reload === undefined || lifecycle.isDraining) logger.info('SIGHUP is ignored: there is nothing to read again');
    else await reloadFrom(read, reload, logger);
  });
  process.on('SIGHUP', () => void hangUp());
  if (earlyHangup()) void hangUp();
  const drain = (): void => void lifecycle.drain().then(() => process.exit(exitCodes.ok), die('draining failed'));
  let isSignalled = false;
  for (const [signal, number] of [['SIGTERM', 15], ['SIGINT', 2]] as const) {
    process.on(signal, () => {
      // Who asked for the drain in another way, a hook before the orchestrator's signal, is in no hurry.
      if (isSignalled) process.exit(128 + number);
      isSignalled = true;
      drain();
    });
  }
  try {
    await definition.start(config, { clock, logger, lifecycle, schema, version, onReload: (handler) => (reload = handler), drain });
    lifecycle.started();
    setStarted!();
    letYoungGenerationGrow();
  } catch (error) {
    // What a drain gave up has not failed: who drains ends the process.
    if (lifecycle.isDraining) return;
    // Why it could not start is what matters, and is told below.
    await lifecycle.close().catch((problem: unknown) => logger.error({ err: problem }, 'not everything could be closed'));
    // What only starting can find out of what is configured: a file of data that is damaged, say.
    if (error instanceof ConfigError) {
      writeToStderr(`${error.message}\n`);
      process.exit(exitCodes.usage);
    }
    const { code, syscall, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
    if (code === undefined || (syscall !== 'listen' && syscall !== 'bind')) logger.fatal({ err: error }, 'could not start');
    else if (address !== undefined && (port === undefined || port < 0)) logger.fatal({ code }, `could not listen on ${address}: ${pathFailure(code, address)}`);
    else logger.fatal({ code }, `could not listen on ${address}:${port}: ${portFailures[code] ?? code}`);
    process.exit(exitCodes.unavailable);
  }
}

async function reloadFrom<T>(read: () => Promise<T>, reload: (config: T) => Promise<void>, logger: Logger): Promise<void> {
  try {
    await reload(await read());
    logger.info('reloaded');
  } catch (error) {
    if (error instanceof ConfigError) logger.error({ problems: error.message.split('\n') }, 'the configuration is wrong; the old one stays');
    else logger.error({ reason: (error as Error).message }, 'the configuration could not be exchanged; the old one stays');
  }
}

/** Node would open a debugger to everybody on this machine; other servers are told so to open their logs anew. */
export function leaveSigusr1Alone(): void {
  process.on('SIGUSR1', () => {});
}

/** Logs what nobody caught and exits: what state it left behind is unknown. Returns the same for rejections that are waited for. */
export function exitOnDefects(logger: Logger): (kind: string) => (error: unknown) => void {
  const die = (kind: string) => (error: unknown) => {
    logger.fatal({ err: error }, kind);
    process.exit(exitCodes.software);
  };
  process.on('uncaughtException', die('uncaught exception'));
  process.on('unhandledRejection', die('unhandled rejection'));
  // Whoever read our output went away: that ends the output, not the process.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  return die;
}

const portFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is taken by another process',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'this user may not take that port',
};

/** What is in the way of a Unix domain socket. Node says EACCES also where there is no directory for it. */
function pathFailure(code: string, path: string): string {
  if (code === 'EADDRINUSE') return 'the path is taken by another process';
  if (code !== 'EACCES' && code !== 'ENOENT') return code;
  const directory = dirname(path);
  return existsSync(directory) ? 'this user may not make a socket at that path' : `there is no directory ${directory}`;
}
