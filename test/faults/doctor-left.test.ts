/** Pulls that wait for a transfer that no decompressor works at any more: it has ended, and something that it started still holds its stderr. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding } from '../../src/doctor/finding.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type Engines, hostEngines, newestEngines } from '../testbed/newest.ts'
import { layers, program, pullCodes, SickEngine, visit } from './doctor-bed.ts'
import { type ServedImage, serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-left-'))
let image: ServedImage
before(async () => {
  image = await serveImage(layers)
})
after(async () => {
  await image?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

/** Decompresses well, and leaves a process behind that has its stderr: dockerd waits for the end of that before it believes in the end. */
const leaves = (mark: string) => `#!/bin/sh
setsid sh -c 'exec sleep ${mark}' </dev/null >/dev/null &
exec /usr/bin/unpigz "$@"
`

function sleepers(mark: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(name => {
      try {
        // It may not have become what it will be.
        return /(?:^|exec )sleep[\0 ](\d+)\0$/.exec(readFileSync(`/proc/${name}/cmdline`, 'latin1'))?.[1] === mark
      } catch {
        return false
      }
    })
    .map(Number)
}

/** What the doctor says of what its collector has written down. */
async function visitElsewhere(pid: number): Promise<readonly Finding[]> {
  const [script, facts] = [join(directory, 'collect.sh'), join(directory, 'facts')]
  writeFileSync(script, await run(program, ['doctor', '--emit-collector']))
  writeFileSync(facts, await run('dash', [script, String(pid)]))
  const { stdout, stderr } = await runCommand(program, ['doctor', '--json', '--from', facts, '--pid', String(pid)])
  return (JSON.parse(stdout || assert.fail(stderr)) as { findings: Finding[] }).findings
}

function testDocker(name: string, engines: Engines, mark: string): void {
  describe(name, () => {
    let loop: LoopFilesystem
    let docker: TestDocker
    let sick: SickEngine
    const end = () => {
      for (const pid of sleepers(mark)) {
        try {
          process.kill(pid, 'SIGKILL')
        } catch {} // it has just become what it is, or has ended
      }
    }
    before(async () => {
      loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
      const shims = mkdtempSync(join(directory, 'shims-'))
      docker = await startDocker(join(loop.directory, 'docker'), shims, engines)
      const client = [...engines, 'docker', '-H', `unix://${docker.socket}`]
      sick = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
    })
    after(async () => {
      end()
      await docker?.[Symbol.asyncDispose]()
      await loop?.[Symbol.asyncDispose]()
    })

    test('its second pull waits for a cancelled one that nobody works at: who holds the pipe is named, and to end it is the cure', {
      timeout: 90_000,
    }, async () => {
      writeFileSync(join(sick.shims, 'unpigz'), leaves(mark), { mode: 0o755 })
      const first = sick.startPull(image.reference)
      const isLeft = () => sleepers(mark).length > 0 && !sick.children().some(({ name }) => /unpigz|^sh$/.test(name))
      await waitUntil('the decompressor has ended', 20_000, isLeft)
      await sleep(1500)
      const [holder] = sleepers(mark)
      first.kill('SIGINT')
      await once(first, 'exit')
      const second = sick.startPull(image.reference)
      await sleep(2000)
      const seen = await visit(sick.pid)
      assert.deepEqual(pullCodes(seen).toSorted(), ['PIPE_HELD', 'TRANSFER_POISONED'], JSON.stringify(seen.findings))
      const held = seen.findings.find(({ code }) => code === 'PIPE_HELD')
      assert.equal(held?.facts['pid'], holder)
      const elsewhere = await visitElsewhere(sick.pid)
      assert.deepEqual(elsewhere.find(({ code }) => code === 'PIPE_HELD')?.evidence, held?.evidence)
      assert.match(held?.evidence[0] ?? '', /^sleep \d+, whose parent is \d+, can write to pipe:/)
      sick.useHealthy()
      // A decompressor that was just being started leaves one behind, too.
      const ending = setInterval(end, 200)
      try {
        assert.deepEqual(await once(second, 'exit'), [0, null])
      } finally {
        clearInterval(ending)
      }
    })
  })
}

// By it they are known from those of another run of this test.
testDocker('docker of this host', hostEngines, String(10_000_000 + process.pid))
const newest = newestEngines()
if (newest !== undefined) testDocker('newest docker', newest, String(20_000_000 + process.pid))
