import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';

export interface QuoteRequest {
  readonly sku: string;
}

export interface ScaleRequest extends QuoteRequest {
  readonly steps: number;
}

export interface Price extends QuoteRequest {
  readonly pieces: number;
  readonly cents: number;
  readonly instance: string;
}

interface PricingDefinition extends ServiceDefinition {
  readonly Quote: MethodDefinition<QuoteRequest, Price>;
  readonly Scale: MethodDefinition<ScaleRequest, Price>;
}

const file = fileURLToPath(new URL('../../../../scenarios/services/pricing/pricing.proto', import.meta.url));

/** The service as its .proto file describes it. */
export function pricingDefinition(): PricingDefinition {
  const { shop } = loadPackageDefinition(loadSync(file)) as unknown as { shop: { Pricing: { service: PricingDefinition } } };
  return shop.Pricing.service;
}
