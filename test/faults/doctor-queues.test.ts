/** Places and locks that a real engine gives to those who do nothing with them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentMs } from '../../src/doctor/downloads.ts'
import { silentAfter } from '../servers/faulty-registry.ts'
import { waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { pullCodes, SickEngine, visit } from './doctor-bed.ts'
import { makeNoise, serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-queues-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const row = { timeout: 180_000 }

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

// Each has an engine of its own.
describe('the doctor looks at', { concurrency: true }, () => {
  test('docker whose places for downloads are all taken by layers that do not come', row, async () => {
    const fault = silentAfter(100_000)
    const layers = ['a', 'b', 'c', 'd'].map((name, at) => makeNoise(name, (2 << 20) + at * 1000))
    await using image = await serveImage(layers, { 0: fault, 1: fault, 2: fault, 3: fault })
    await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
    const shims = mkdtempSync(join(directory, 'shims-'))
    await using docker = await startDocker(join(loop.directory, 'docker'), shims)
    const client = ['docker', '-H', `unix://${docker.socket}`]
    const sick = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
    sick.startPull(image.reference)
    await sleep(silentMs + 4000)
    const seen = await visit(docker.pid)
    assert.deepEqual(pullCodes(seen).toSorted(), ['DOWNLOAD_SILENT', 'DOWNLOAD_SLOTS_FULL'], pullCodes(seen).join(' '))
    await sick.free()
  })

  test(
    'containerd that a client hands a layer, of which its registry gives no more: it is no lock that nobody uses',
    row,
    async () => {
      await using image = await serveImage([makeNoise('a', 2 << 20)], { 0: silentAfter(1_500_000) })
      await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
      const home = join(loop.directory, 'containerd')
      await using containerd = await startContainerd(home)
      // That of 1.6 downloads by itself, and hands over a mebibyte at a time. Other programs do so, too, whose names nobody knows.
      const program = join(directory, 'host-ctr')
      copyFileSync('/usr/bin/ctr', program)
      const client = spawn(program, ['-a', containerd.socket, 'images', 'pull', '--plain-http', image.reference], {
        stdio: 'ignore',
      })
      try {
        const ingests = join(home, 'root/io.containerd.content.v1.content/ingest')
        const parts = () =>
          readdirSync(ingests)
            .map(name => join(ingests, name, 'data'))
            .filter(path => sizeOf(path) > 50_000)
        await waitUntil('the layer has begun', 60_000, () => parts().length > 0)
        const minutesAgo = Date.now() / 1000 - 120
        for (const path of parts()) utimesSync(path, minutesAgo, minutesAgo)
        const codes = pullCodes(await visit(containerd.pid))
        assert.deepEqual(codes.includes('INGEST_LOCKED'), false, codes.join(' '))
        assert.notDeepEqual(codes, ['NO_PULL'])
      } finally {
        client.kill('SIGKILL')
      }
    },
  )

  test(
    'containerd that keeps a layer locked for a client that writes nothing; where one is connected who cannot be seen, it may be the writer',
    row,
    async () => {
      await using loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
      const home = join(loop.directory, 'containerd')
      await using containerd = await startContainerd(home)
      const reference = `layer-sha256:${'1a'.repeat(32)}`
      const args = ['-a', containerd.socket, 'content', 'ingest', '--expected-size', '1000']
      const writer = spawn('ctr', [...args, reference], { stdio: ['pipe', 'ignore', 'ignore'] })
      const others: ChildProcess[] = []
      try {
        writer.stdin.write('some')
        const ingests = join(home, 'root/io.containerd.content.v1.content/ingest')
        const names = () => readdirSync(ingests)
        await waitUntil('it has begun', 20_000, () => names().length > 0)
        await sleep(500)
        assert.deepEqual(pullCodes(await visit(containerd.pid)).includes('INGEST_LOCKED'), false)
        const hourAgo = Date.now() / 1000 - 3600
        for (const name of names()) utimesSync(join(ingests, name, 'data'), hourAgo, hourAgo)
        const seen = await visit(containerd.pid)
        const finding = seen.findings.find(({ code }) => code === 'INGEST_LOCKED')
        const told = finding?.evidence[0] ?? pullCodes(seen).join(' ')
        assert.ok(told.includes(`${reference} is open with`), told)
        assert.equal(finding?.severity, 'warning')
        const ofAnotherNetwork = ['--net', 'ctr', ...args, `layer-sha256:${'2b'.repeat(32)}`]
        others.push(spawn('unshare', ofAnotherNetwork, { stdio: ['pipe', 'ignore', 'ignore'] }))
        await waitUntil('the other has begun', 20_000, () => names().length > 1)
        const { findings } = await visit(containerd.pid)
        assert.equal(findings.find(({ code }) => code === 'INGEST_LOCKED')?.severity, 'note')
      } finally {
        for (const client of [writer, ...others]) client.kill('SIGKILL')
      }
    },
  )
})
