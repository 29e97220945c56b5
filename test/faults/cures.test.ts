/** Cures of a real daemon: applied, proven by its next pull, and taken back; and the service that rescues by itself. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { program, SickEngine } from './doctor-bed.ts'
import { makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 120_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-cures-'))
const early = join(directory, 'early')
const late = join(directory, 'late')
const root = join(directory, 'root')

describe('a docker whose decompressor is broken', { concurrency: 1 }, () => {
  let image: ServedImage
  let loop: LoopFilesystem
  let docker: TestDocker
  let sick: SickEngine

  before(async () => {
    mkdirSync(early)
    mkdirSync(late)
    image = await serveImage([makeNoise('noise', 4 << 20)])
    loop = await openLoopFilesystem({ sizeBytes: 2 ** 29 })
    docker = await startDocker(join(loop.directory, 'docker'), `${early}:${late}`)
    const client = ['docker', '-H', `unix://${docker.socket}`]
    sick = new SickEngine(docker.pid, late, [...client, 'pull'], [...client, 'rmi', '-f'])
  })
  afterEach(() => sick.free())
  after(async () => {
    await docker?.[Symbol.asyncDispose]()
    await loop?.[Symbol.asyncDispose]()
    await image?.[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })

  async function doctor(args: readonly string[]) {
    const all = ['doctor', '--json', '--root', root, '--pid', String(docker.pid), ...args]
    const { status, stdout, stderr } = await runCommand(program, all)
    return { status, told: stdout === '' ? undefined : JSON.parse(stdout), stderr }
  }

  async function startStuckPull() {
    await plantBroken(late, 'sleep')
    const client = sick.startPull(image.reference)
    const { decompressor } = await sick.unpacking(true)
    await waitUntil('it is stuck', 20_000, () =>
      /wchar: 3\d{5}/.test(readFileSync(`/proc/${decompressor}/io`, 'latin1')),
    )
    return { client, decompressor }
  }

  test('is cured by a shim; only then may the stuck process be ended; all is taken back', row, async () => {
    const { client, decompressor } = await startStuckPull()
    const tooEarly = await doctor(['--fix', `kill-${decompressor}`, '--yes'])
    assert.equal(tooEarly.status, 1, tooEarly.stderr)
    assert.match(tooEarly.stderr, /would start the same program/)
    assert.ok(existsSync(`/proc/${decompressor}`))

    const planned = await doctor(['--fix', 'shim-dockerd', '--dry-run'])
    assert.equal(planned.told.result, 'planned')
    assert.deepEqual(readdirSync(early), [])
    const applied = await doctor(['--fix', 'shim-dockerd', '--yes'])
    assert.equal(applied.told.isProven, true, JSON.stringify(applied.told))
    assert.deepEqual(readdirSync(early), ['unpigz'])

    const ended = await doctor(['--fix', `kill-${decompressor}`, '--yes'])
    assert.equal(ended.told?.isProven, true, ended.stderr)
    if (client.exitCode === null) await once(client, 'exit')
    assert.notEqual(client.exitCode, 0)
    const again = sick.startPull(image.reference)
    await once(again, 'exit')
    assert.equal(again.exitCode, 0)

    const undone = await doctor(['--undo', applied.told.undo, '--yes'])
    assert.equal(undone.told?.result, 'undone', undone.stderr)
    assert.deepEqual(readdirSync(early), [])
    assert.equal((await doctor(['--undo', 'last', '--yes'])).status, 2)
  })

  test('does not get a shim over a file that is there', row, async () => {
    writeFileSync(join(early, 'unpigz'), 'mine', { mode: 0o644 })
    const { status, stderr } = await doctor(['--fix', 'shim-dockerd', '--yes'])
    assert.equal(status, 1, stderr)
    assert.equal(readFileSync(join(early, 'unpigz'), 'utf8'), 'mine')
    rmSync(join(early, 'unpigz'))
  })

  test('is rescued by the service as soon as it hangs, which tells it and counts it', row, async () => {
    const metrics = join(directory, 'windlass.prom')
    const args = ['doctor', '--watch', '--rescue', '--metrics', metrics, '--root', root, '--pid', String(docker.pid)]
    const service = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let log = ''
    service.stdout.on('data', data => {
      log += String(data)
    })
    try {
      const { client } = await startStuckPull()
      if (client.exitCode === null) await once(client, 'exit')
      assert.equal(client.exitCode, 0)
      await waitUntil('it has counted', 30_000, () => /\{result="rescued"\} 1$/m.test(readIfThere(metrics)))
      const line = JSON.parse(log.trim())
      assert.equal(line.event, 'rescue')
      assert.equal(line.result, 'rescued')
      assert.equal(line.finding, 'DECOMPRESSOR_ASLEEP')
    } finally {
      service.kill('SIGTERM')
      await Promise.race([once(service, 'exit'), sleep(10_000)])
    }
    assert.equal(service.exitCode, 143)
  })

  test('and whose decompressor is a script that waits for another program: both leave', row, async () => {
    await plantBroken(late, 'sleep', 'inner')
    writeFileSync(join(late, 'unpigz'), `#!/bin/sh\n${join(late, 'inner')} "$@"\nexit $?\n`, { mode: 0o755 })
    const client = sick.startPull(image.reference)
    await sick.unpacking(true)
    await sleep(2000)
    const { told, stderr } = await doctor(['--rescue', '--yes'])
    assert.ok(told?.outcomes.length > 0, stderr)
    assert.ok(
      told.outcomes.every((outcome: { result: string }) => outcome.result === 'rescued'),
      JSON.stringify(told),
    )
    if (client.exitCode === null) await once(client, 'exit')
    assert.equal(client.exitCode, 0)
    rmSync(join(late, 'inner'))
  })
})

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}
