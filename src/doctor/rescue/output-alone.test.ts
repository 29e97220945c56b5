import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LiveHost } from '../../sys/host-view.ts'
import { readArguments } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import { writesOutputAlone } from './output-alone.ts'
import type { Subject } from './subject.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-alone-'))
after(() => rmSync(directory, { recursive: true }))
const host = new LiveHost()
const args = ['-d', '-c']

/** How an engine with this search path would see the process that this file has become. */
async function look(
  file: string,
  { path, mayComplain = false, changed }: { path: string; mayComplain?: boolean; changed?: () => void },
) {
  await sleep(1500) // what has changed a moment ago may have changed since
  const child = spawn(file, args, { env: {}, stdio: ['pipe', 'ignore', 'ignore'] })
  try {
    await once(child, 'spawn')
    const pid = child.pid as number
    const hasBegun = () => /gzip$/.test(host.link(`/proc/${pid}/exe`) ?? '') && readArguments(host, pid).length > 0
    while (!hasBegun()) await sleep(5)
    changed?.()
    const process = readProcess(pid, host)
    const engine = { environment: new Map([['PATH', path]]), rootPrefix: '' }
    const subject = { line: { decompressor: [process], engine }, waited: process, writer: process, mayComplain }
    return await writesOutputAlone(host, subject as unknown as Subject)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

function directoryWith(name: string, content?: string): string {
  const own = mkdtempSync(join(directory, 'bin-'))
  if (content === undefined) copyFileSync('/usr/bin/gzip', join(own, name))
  else writeFileSync(join(own, name), content, { mode: 0o755 })
  return own
}

describe('the count of a process', { concurrency: true }, () => {
  test('of the program that the engine finds, and has started itself, the count is that of the output', async () => {
    assert.equal(await look('/usr/bin/gzip', { path: '/usr/bin' }), true)
    const own = directoryWith('gzip')
    assert.equal(await look(join(own, 'gzip'), { path: `/nowhere:${own}:/usr/bin` }), true)
  })

  test('not of one that a script has become, which may have written to something else', async () => {
    const own = directoryWith('gzip', '#!/bin/sh\nexec /usr/bin/gzip "$@"\n')
    const path = `${own}:/usr/bin`
    assert.equal(await look(join(own, 'gzip'), { path }), false)
    const removed = () => rmSync(join(own, 'gzip'))
    assert.equal(await look(join(own, 'gzip'), { path, changed: removed }), false)
  })

  test('not of one that has become another since, nor of one that may complain', async () => {
    const own = directoryWith('gzip')
    const again = () => copyFileSync('/usr/bin/gunzip', join(own, 'another'))
    assert.equal(await look(join(own, 'gzip'), { path: own, changed: again }), false)
    assert.equal(await look('/usr/bin/gzip', { path: '/usr/bin', mayComplain: true }), false)
  })
})
