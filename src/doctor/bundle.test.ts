import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { makeBundle } from './bundle.ts'
import type { Engine } from './engines.ts'

const process = {
  pid: 7,
  parent: 1,
  group: 7,
  session: 7,
  name: 'dockerd',
  state: 'S',
  threads: 9,
  userTicks: 1,
  systemTicks: 1,
  startTicks: 1,
}

const engine: Engine = {
  kind: 'dockerd',
  process,
  args: ['dockerd', '--registry-mirror', 'https://user:password@mirror.example'],
  program: '/usr/bin/dockerd',
  version: '20.10.24',
  dataRoot: '/var/lib/docker',
  dataPath: '/var/lib/docker',
  rootPrefix: '',
  sockets: [],
  environment: new Map([
    ['PATH', '/usr/bin'],
    ['HTTPS_PROXY', 'http://user:password@proxy.example:3128'],
    ['SECRET_TOKEN', 'password'],
  ]),
  decompressors: [],
  isOpen: true,
}

test('a bundle has the evidence, and no secrets of the environment or of URLs', async () => {
  const dumps = new Map([[7, 'goroutine 1 [running]:\n']])
  const bundle = await makeBundle(
    { engines: [engine], findings: [], worst: 'ok', skipped: [], lines: [], dumps },
    { version: '1' },
  )
  const text = gunzipSync(bundle).toString()
  for (const name of ['about.json', 'engines.json', 'findings.json', 'looks.json', 'goroutines-7.txt'])
    assert.ok(text.includes(`windlass-doctor/${name}`), name)
  assert.match(text, /"HTTPS_PROXY": "http:\/\/…@proxy\.example:3128"/)
  assert.match(text, /mirror\.example/)
  assert.doesNotMatch(text, /password|SECRET_TOKEN/)
})
