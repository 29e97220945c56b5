import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import type { Engine } from '../engines.ts'
import { knownFaults } from './known-faults.ts'

async function look(kind: Engine['kind'], version: string | undefined) {
  return await runCheck(knownFaults, new FixtureHost({}), { engines: [makeEngine(1, { kind, version })] })
}

test('versions with known faults are named with what happens, and only these', async () => {
  for (const [kind, version, pattern] of [
    ['dockerd', '19.03.15', /moby 39859/],
    ['dockerd', '20.10.24+dfsg1', /moby 38608/],
    ['containerd', '1.3.0', /3816/],
    ['containerd', '2.1.3', /12126/],
    ['containerd', '2.1.4', /11864/],
  ] as const) {
    const [finding] = await look(kind, version)
    assert.equal(finding?.code, 'ENGINE_KNOWN_FAULT', version)
    assert.match(finding?.evidence.join('\n') ?? '', pattern)
  }
})

test('mended and unknown versions are not accused', async () => {
  for (const [kind, version] of [
    ['dockerd', '24.0.0'],
    ['containerd', '1.6.20'],
    ['containerd', '2.1.5'],
    ['containerd', '2.2.0'],
    ['podman', '4.3.1'],
    ['dockerd', undefined],
    ['dockerd', 'dev'],
  ] as const)
    assert.deepEqual(codesOf(await look(kind, version)), [], String(version))
})
