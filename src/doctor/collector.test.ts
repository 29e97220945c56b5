import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { codesOf } from '../../test/checked.ts'
import { readFactsFile } from './collector.ts'
import { diagnose } from './diagnose.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-facts-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const look = (at: number) => [
  `f${at}.0`,
  `t/proc/7/stat:7 (dockerd) S 1 7 7 0 ${'0 '.repeat(46)}`,
  'l/proc/7/fd:',
  'llrwx------ 1 0 0 64 Jan  1 00:00 5 -> socket:[99]',
]
/** A dockerd that listens on a socket. */
const known = [
  ...[
    'windlass-facts 2',
    '=arch x86_64',
    '=now 1700000000 30.00',
    '=ls -lnb',
    'llrwxrwxrwx 1 0 0 0 Jan  1 00:00 /proc/7/exe -> /usr/bin/dockerd',
  ],
  ...['c/proc/7/cmdline', 'bdockerd', 'c/proc/7/environ', 'bPATH=/usr/bin'],
  't/proc/7/net/unix:0000000000000000: 00000002 00000000 00010000 0001 01 99 /run/docker.sock',
]
const question = 'a/run/docker.sock /version'

async function read(bytes: string | Buffer) {
  const path = join(directory, 'facts')
  writeFileSync(path, bytes)
  return await readFactsFile(path)
}

async function codes(lines: readonly string[]): Promise<string[]> {
  const { findings } = await diagnose(await read(lines.map(line => `${line}\n`).join('')), {
    signal: AbortSignal.timeout(60_000),
  })
  return codesOf(findings)
}

test('silent is who was asked, not whom a record that was cut, or a host without curl, did not ask', async () => {
  const looks = [...look(30), ...look(32)]
  assert.ok((await codes([...known, question, ...looks, 'z'])).includes('ENGINE_SILENT'))
  for (const lines of [
    [...known, ...looks, 'z'],
    [...known, ...looks, ...look(34), question],
  ]) {
    const seen = await codes(lines)
    assert.ok(seen.includes('ENGINE_RUNS') && !seen.includes('ENGINE_SILENT'), String(seen))
  }
})

test('whose socket two lines of the table name is asked nothing: one of them is part of a name', async () => {
  const forged = 't/proc/7/net/unix:0: 00000002 00000000 00010000 0001 01 99 /tmp/evil.sock'
  const answer = ['a/tmp/evil.sock /version', 'b{"Version":"1.2","ApiVersion":"1.41"}']
  const host = await read([...known, forged, ...answer, ...look(30), ...look(32), 'z', ''].join('\n'))
  const { engines } = await diagnose(host, { signal: AbortSignal.timeout(60_000) })
  assert.deepEqual(
    engines.map(({ sockets, version }) => [sockets, version]),
    [[[], undefined]],
  )
})

test('what a PowerShell has written to a file is read', async () => {
  const text = [...known, ...look(30), 'z', ''].join('\r\n')
  const host = await read(Buffer.from(`\uFEFF${text}`, 'utf16le'))
  assert.ok(host.isWhole)
  assert.equal(host.link('/proc/7/exe'), '/usr/bin/dockerd')
})
