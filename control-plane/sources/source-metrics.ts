import { Gauge, type Registry } from 'prom-client';
import type { Leadership } from './leadership.js';

/** What is measured of sources of either kind. */
export function measureSources(metrics: Registry, { isAvailable, leadership }: { readonly isAvailable: () => boolean; readonly leadership: Leadership }): void {
  new Gauge({ name: 'control_plane_store_available', help: '1 while the store can be asked and followed, and an embedded one’s disk took the last change; 0: snapshots stay as they are, and changes are refused.', registers: [metrics], collect() { this.set(isAvailable() ? 1 : 0); } });
  new Gauge({ name: 'control_plane_leader', help: '1 while this control plane leads, of those that share a store.', registers: [metrics], collect() { this.set(leadership.isLeader ? 1 : 0); } });
}
