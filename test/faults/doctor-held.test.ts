/** The doctor beside a process whose own memory does not answer: who asks for its command line hangs, as ps does. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { LiveHost } from '../../src/sys/host-view.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { openFailingFilesystem } from '../testbed/failing-filesystem.ts'
import { program, type Visit } from './doctor-bed.ts'

test('neither the doctor nor its collector waits for the memory of a process, and both say whose it is', {
  timeout: 240_000,
}, async () => {
  await using fuse = await openFailingFilesystem()
  const file = join(fuse.directory, 'pages')
  writeFileSync(file, Buffer.alloc(1 << 20))
  await fuse.order({ requests: ['WRITE'], hang: true })
  const args = [join(import.meta.dirname, '../testbed/held-memory.ts'), file]
  const held = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: '/usr/bin' } })
  try {
    await once(held.stdout, 'data')
    const pid = held.pid ?? 0
    const cat = spawn('cat', [`/proc/${pid}/cmdline`], { stdio: 'ignore' })
    await waitUntil('who reads its command line hangs', 10_000, () => fuse.hasMet())
    assert.equal(cat.exitCode, null)
    const live = runCommand(program, ['doctor', '--json', '--pid', String(pid)])
    const directory = mkdtempSync(join(tmpdir(), 'windlass-held-'))
    const facts = join(directory, 'facts')
    writeFileSync(join(directory, 'collect.sh'), await run(program, ['doctor', '--emit-collector']))
    writeFileSync(facts, await run('dash', [join(directory, 'collect.sh'), String(pid)]))
    for (const seen of [await live, await runCommand(program, ['doctor', '--json', '--from', facts])]) {
      const { findings } = JSON.parse(seen.stdout || assert.fail(seen.stderr)) as Visit
      const finding = findings.find(({ code }) => code === 'PROCESS_MEMORY_HELD')
      assert.equal(finding?.subject, `podman ${pid}`, findings.map(({ code }) => code).join(' '))
    }
    rmSync(directory, { recursive: true })
    const host = new LiveHost()
    const path = `/proc/${pid}/cmdline`
    assert.equal(host.text(path), undefined)
    assert.ok(host.silent.has(path) && new LiveHost().silent.has(path))
    await fuse.order({})
    await waitUntil('its command line is there again', 20_000, () => host.text(path)?.includes('held-memory') === true)
    assert.deepEqual([...host.silent], [])
  } finally {
    held.kill('SIGKILL')
    await fuse.order({})
  }
})
