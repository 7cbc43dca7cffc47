import { status, type Server, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData } from '@grpc/grpc-js';
import type { Meet } from '../grpc-service.js';
import { pricingDefinition, type Price, type QuoteRequest, type ScaleRequest } from './definition.js';

const catalogue: Readonly<Record<string, number>> = { teapot: 2_400, cup: 350 };
const maxSteps = 100;

/** What things cost: one price, or a stream of them, over gRPC. */
export function pricing(environment: NodeJS.ProcessEnv): (server: Server, meet: Meet) => void {
  const instance = environment['INSTANCE'] ?? 'pricing';
  const price = (sku: string, pieces: number): Price | undefined => {
    const each = catalogue[sku];
    return each === undefined ? undefined : { sku, pieces, cents: each * pieces, instance };
  };
  const unknown = (sku: string): { code: status; details: string } => ({ code: status.NOT_FOUND, details: `there is no ${JSON.stringify(sku)}` });
  const tooMany = (steps: number): { code: status; details: string } => ({ code: status.INVALID_ARGUMENT, details: `steps: expected at most ${maxSteps}, got ${steps}` });

  return (server, meet) =>
    server.addService(pricingDefinition(), {
      async Quote(call: ServerUnaryCall<QuoteRequest, Price>, done: sendUnaryData<Price>) {
        const failure = await meet(call);
        const { sku } = call.request;
        const answer = price(sku, 1);
        if (failure !== undefined) done(failure);
        else if (answer === undefined) done(unknown(sku));
        else done(null, answer);
      },
      async Scale(call: ServerWritableStream<ScaleRequest, Price>) {
        const failed = await meet(call);
        const { sku, steps } = call.request;
        const failure = failed ?? (price(sku, 1) === undefined ? unknown(sku) : steps > maxSteps ? tooMany(steps) : undefined);
        if (failure !== undefined) return void call.emit('error', failure);
        for (let pieces = 1; pieces <= steps; pieces++) call.write(price(sku, pieces)!);
        call.end();
      },
    });
}
