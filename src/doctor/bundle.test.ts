import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { makeEngine } from '../../test/checked.ts'
import type { Certificate } from '../codec/external/certificates.ts'
import { RecordedHost } from '../sys/recorded-host.ts'
import { makeBundle } from './bundle.ts'

const engine = makeEngine(7, {
  args: ['dockerd', '--registry-mirror', 'https://user:password@mirror.example', '--creds', 'me:password'],
  dataRoot: '/var/lib/docker',
  dataPath: '/var/lib/docker',
  environment: new Map([
    ['PATH', '/usr/bin'],
    ['HTTPS_PROXY', 'http://user:password@proxy.example:3128'],
    ['SECRET_TOKEN', 'password'],
  ]),
})

const failed: Certificate = {
  name: 'unpigz',
  path: '/usr/bin/unpigz',
  realPath: '/usr/bin/pigz',
  host: 'x64',
  files: [],
  probedAt: '2026-01-01T00:00:00Z',
  verdict: 'hangs',
  problems: [{ shape: 'one byte', verdict: 'hangs', message: 'not done after 6 s' }],
  version: 'pigz 2.4',
  tookMs: 6000,
}

test('a bundle has the evidence, and no secrets of the environment or of URLs', async () => {
  const dumps = new Map([[7, 'goroutine 1 [running]:\n']])
  const took = { ms: 6000, heldUpMs: 0 }
  const diagnosis = { engines: [engine], findings: [], worst: 'ok', skipped: [], lines: [], dumps, took } as const
  const facts = 'windlass-facts 2\n=arch x86_64\nf1.0\nt/proc/7/stat:7 (dockerd) S 1\nz\n'
  const bundle = await makeBundle(diagnosis, { about: { version: '1' }, facts, probes: [failed] })
  const text = gunzipSync(bundle).toString()
  for (const name of [
    'about.json',
    'engines.json',
    'findings.json',
    'looks.json',
    'goroutines-7.txt',
    'probes.json',
    'probes/unpigz/one-byte',
  ])
    assert.ok(text.includes(`windlass-doctor/${name}`), name)
  assert.match(new RecordedHost(text).text('/proc/7/stat') ?? '', /dockerd/)
  assert.match(text, /"HTTPS_PROXY": "http:\/\/…@proxy\.example:3128"/)
  assert.match(text, /mirror\.example/)
  assert.doesNotMatch(text, /password|SECRET_TOKEN/)
})
