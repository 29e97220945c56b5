import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { findRegistryPorts } from './registry-ports.ts'

test('registries are asked at the usual ports, at those that clients name, and at those of proxies', async () => {
  const uid = process.getuid?.() ?? 0
  const host = new FixtureHost({
    files: {
      '/proc/8/stat': `8 (ctr) S 1 8 8 0 ${'0 '.repeat(46)}`,
      '/proc/8/status': `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`,
      '/proc/8/cmdline': 'ctr\0images\0pull\0registry.example.com:30020/a:1\0',
      '/proc/8/environ': 'https_proxy=http://proxy.example.com:3128/\0NO_PROXY=other.example.com:4317\0',
    },
  })
  const environment = new Map([['HTTP_PROXY', 'http://127.0.0.1:3129']])
  const ports = async (sockets: string[]) =>
    [...(await findRegistryPorts(host, makeEngine(7, { kind: 'containerd', sockets, environment })))].toSorted()
  assert.deepEqual(await ports(['/run/containerd/containerd.sock']), ['30020', '3128', '3129', '443', '5000', '80'])
  assert.deepEqual(await ports(['/run/other.sock']), ['3129', '443', '5000', '80'])
})
