import { isObject } from '../config/is-object.js';
import type { WrittenEndpoint } from '../config/endpoints.js';

/*
 * A snapshot's document before anybody has checked it: what is in it is looked at with care. Its parts are the routes (known by their name),
 * the upstreams, and the settings of inbound.
 */

export type Document = Readonly<Record<string, unknown>>;
export type Section = Record<string, unknown>;

export function upstreamsOf(document: Document | undefined): Section {
  const upstreams = document?.['upstreams'];
  return isObject(upstreams) ? upstreams : {};
}

export function inboundOf(document: Document | undefined): Section {
  const inbound = document?.['inbound'];
  return isObject(inbound) ? inbound : {};
}

export function routesOf(document: Document | undefined): readonly unknown[] {
  const routes = document?.['routes'];
  return Array.isArray(routes) ? routes : [];
}

export function routeNamed(document: Document | undefined, name: unknown): unknown {
  return typeof name === 'string' ? routesOf(document).find((route) => isObject(route) && route['name'] === name) : undefined;
}

/** The endpoints of an upstream that could be ones. */
export function endpointsOf(upstream: unknown): WrittenEndpoint[] {
  const endpoints = isObject(upstream) ? upstream['endpoints'] : undefined;
  return Array.isArray(endpoints) ? endpoints.filter((endpoint): endpoint is WrittenEndpoint => typeof endpoint === 'string' || (isObject(endpoint) && typeof endpoint['address'] === 'string')) : [];
}

