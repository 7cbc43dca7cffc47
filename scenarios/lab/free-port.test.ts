import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { units } from './declaration.js';
import { freePorts, placeOf, portsOfAProcess } from './free-port.js';

describe('free ports', () => {
  test('two labs that start together look for theirs in different places', () => {
    const needed = units.flatMap(({ ports }) => ports).length;
    assert.ok(needed <= portsOfAProcess, `a lab has ${needed} ports`);
    const places = Array.from({ length: 100 }, (_, index) => placeOf(4_000 + index)).sort((a, b) => a - b);
    for (const [index, place] of places.slice(1).entries()) assert.ok(place - places[index]! >= needed, `${places[index]} and ${place}`);
  });

  test('none is given twice, nor one from which systems make outgoing connections', async () => {
    const ports = await freePorts(50);
    assert.equal(new Set(ports).size, 50);
    assert.ok(ports.every((port) => port >= 10_240 && port < 32_768), ports.join());
  });
});
