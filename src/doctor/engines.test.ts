import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LiveHost } from '../sys/host-view.ts'
import { descendantsOf, type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import { findEngines, settingsOf } from './engines.ts'

test('a program is run to tell its version only if root or we have started it', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-engine-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const program = join(directory, 'podman')
  copyFileSync('/bin/sleep', program)
  const versionOf = async (uid: number) => {
    const child = spawn(program, ['30'], { uid, stdio: 'ignore' })
    t.after(() => child.kill('SIGKILL'))
    while (readFileSync(`/proc/${child.pid}/comm`, 'latin1') !== 'podman\n') await sleep(5)
    const host = new LiveHost()
    const [engine, ...others] = await findEngines(host, readProcessTable(host), child.pid)
    assert.ok(engine)
    assert.deepEqual(others, [])
    return engine.version
  }
  assert.match((await versionOf(0)) ?? 'none', /^\d/)
  assert.equal(await versionOf(65_534), undefined)
})

test('passwords of proxies are not told, however they are written', () => {
  const environment = new Map([
    ['https_proxy', 'user:secret@proxy:3128'],
    ['CONTAINERD_ADDRESS', 'tcp://user:secret@host:1'],
    ['PIGZ', '-p@2'],
  ])
  assert.deepEqual(settingsOf({ environment }), {
    https_proxy: '…@proxy:3128',
    CONTAINERD_ADDRESS: 'tcp://…@host:1',
    PIGZ: '-p@2',
  })
})

test("processes that are each other's parents, as a record may say, are listed once", () => {
  const entry = (pid: number, parent: number) => [pid, { pid, parent }] as const
  const table = new Map([entry(1, 0), entry(7, 8), entry(8, 7), entry(9, 8)]) as unknown as ProcessTable
  assert.deepEqual(
    descendantsOf(table, 7).map(({ pid }) => pid),
    [8, 9],
  )
})
