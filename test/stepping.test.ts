import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, describe, test } from 'node:test'
import { againAfterTracerFailure, stepThrough, TracerFailure } from './testbed/stepping.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-stepping-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const failedBefore = join(directory, 'failed')
const told: string[] = []
const context = { diagnostic: (text: string) => void told.push(text) }

/** Puts a shell script in place of strace. */
function plant(body: string): void {
  writeFileSync(join(directory, 'strace'), `#!/bin/sh\n${body}\n`)
  chmodSync(join(directory, 'strace'), 0o755)
}

const step = () =>
  stepThrough(['true'], { env: { PATH: `${directory}:${process.env['PATH']}` }, calls: ['rename'] }, async () => {})
const failing = "echo 'strace: ptrace(PTRACE_LISTEN,pid:7): Input/output error' >&2; exit 1"

describe('a program under a tracer', () => {
  beforeEach(() => {
    told.length = 0
    rmSync(failedBefore, { force: true })
  })

  test('is begun anew where the tracer itself fails, which is told', async () => {
    plant(`[ -e ${failedBefore} ] && exit 0; touch ${failedBefore}; ${failing}`)
    const { status } = await againAfterTracerFailure(context, step)
    assert.equal(status, 0)
    assert.ok(existsSync(failedBefore))
    assert.deepEqual(told, ['from the beginning again: strace: ptrace(PTRACE_LISTEN,pid:7): Input/output error'])
  })

  test('is given up where the tracer fails three times', async () => {
    plant(failing)
    await assert.rejects(againAfterTracerFailure(context, step), TracerFailure)
    assert.equal(told.length, 2)
  })

  test('is not begun anew where it fails itself', async () => {
    plant("echo 'rmi: ptrace(is not for me)' >&2; exit 1")
    const { status } = await againAfterTracerFailure(context, step)
    assert.equal(status, 1)
    assert.deepEqual(told, [])
  })
})
