import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Finding } from '../../src/doctor/finding.ts'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { makeFile, makeLayer, makeManyFiles, makeNoise, type ServedImage, serveImage } from './image.ts'

const MiB = 1 << 20
const row = { timeout: 60_000 }
const program = join(import.meta.dirname, '../../bin/windlass')

const directory = mkdtempSync(join(tmpdir(), 'windlass-doctor-'))
const shims = mkdtempSync(join(directory, 'shims-'))
let loop: LoopFilesystem
let docker: TestDocker
let image: ServedImage

/** A layer that is large for pipes and small for disks, one that is work for the filesystem. */
const layers = [
  makeLayer([makeFile('text', Buffer.alloc(3 * MiB, 'some text '))]),
  makeNoise('noise', 24 * MiB),
  makeManyFiles('file', 3000),
]

before(async () => {
  loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
  docker = await startDocker(join(loop.directory, 'docker'), shims)
  image = await serveImage(layers)
})
after(async () => {
  await image?.[Symbol.asyncDispose]()
  await docker?.[Symbol.asyncDispose]()
  await loop?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

const clients: ChildProcess[] = []
afterEach(async () => {
  // What hangs is freed by ending the decompressor, whoever waits for it.
  rmSync(join(shims, 'unpigz'), { force: true })
  for (let rounds = 0; rounds < 50 && childrenOf(docker.pid).length > 0; rounds++) {
    for (const pid of childrenOf(docker.pid)) endProcess(pid)
    await sleep(100)
  }
  for (const client of clients.splice(0)) {
    if (client.exitCode === null && client.signalCode === null) {
      client.kill('SIGKILL')
      await once(client, 'exit')
    }
  }
})

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {} // it has ended
}

/** Everything that dockerd has started but its containerd. */
function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`)
    .flatMap(tid => readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').trim().split(' '))
    .filter(child => child !== '' && nameOf(Number(child)) !== 'containerd')
    .map(Number)
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}

function startPull(reference = image.reference): ChildProcess {
  const client = spawn('docker', ['-H', `unix://${docker.socket}`, 'pull', reference], { stdio: 'ignore' })
  clients.push(client)
  return client
}

interface Visit {
  readonly status: number | null
  readonly findings: readonly Finding[]
  readonly ms: number
}

async function visit(): Promise<Visit> {
  const start = performance.now()
  const { status, stdout, stderr } = await runCommand(program, ['doctor', '--json', '--pid', String(docker.pid)])
  assert.notEqual(stdout, '', stderr)
  return { status, ms: performance.now() - start, findings: (JSON.parse(stdout) as Visit).findings }
}

function pullCodes({ findings }: Visit): string[] {
  return findings.filter(finding => (finding as { area?: string }).area === 'pulls').map(({ code }) => code)
}

/** The two children of a pull: the decompressor, which is started first, and the untar. */
async function waitForChildren(): Promise<[decompressor: number, untar: number]> {
  await waitUntil('dockerd unpacks', 20_000, () => childrenOf(docker.pid).length >= 2)
  const [first = 0, second = 0] = childrenOf(docker.pid)
  return nameOf(first) === 'exe' ? [second, first] : [first, second]
}

const broken: readonly { fault: Fault; code: string; evidence: RegExp }[] = [
  { fault: 'spin', code: 'DECOMPRESSOR_SPINS', evidence: /used \d+\.\d s of processor time in its own code/ },
  { fault: 'sleep', code: 'DECOMPRESSOR_ASLEEP', evidence: /threads: \d+ asleep in futex/ },
  { fault: 'stop-reading', code: 'DECOMPRESSOR_ASLEEP', evidence: /has [\d,]+ bytes of input and has room/ },
  { fault: 'stop-itself', code: 'DECOMPRESSOR_STOPPED', evidence: /state T/ },
  { fault: 'close-stdout-and-live', code: 'DECOMPRESSOR_CLOSED_OUTPUT', evidence: /moved nothing for/ },
  { fault: 'dribble', code: 'DECOMPRESSOR_DRIBBLES', evidence: /bytes\/s; wanted at least/ },
]

describe('the doctor looks at a docker pull', () => {
  for (const { fault, code, evidence } of broken) {
    test(`whose decompressor does this: ${fault}, and names it`, row, async () => {
      await plantBroken(shims, fault)
      startPull()
      const [pid] = await waitForChildren()
      await sleep(1500)
      const seen = await visit()
      assert.deepEqual(pullCodes(seen), [code], JSON.stringify(seen.findings))
      const finding = seen.findings.find(finding => finding.code === code)
      assert.match(finding?.evidence.join('\n') ?? '', evidence)
      assert.equal(finding?.facts['decompressorPid'], pid)
      assert.equal(seen.status, 11)
      assert.ok(seen.ms < 20_000, `it took ${seen.ms} ms`)
    })
  }

  test(
    'whose decompressor is healthy, and stopped by a signal: it names that, and goes on when it is let',
    row,
    async () => {
      const client = startPull()
      const [pid] = await waitForChildren()
      process.kill(pid, 'SIGSTOP')
      const seen = await visit()
      process.kill(pid, 'SIGCONT')
      assert.deepEqual(pullCodes(seen), ['DECOMPRESSOR_STOPPED'], JSON.stringify(seen.findings))
      assert.deepEqual(await once(client, 'exit'), [0, null])
      await docker.docker(['rmi', image.reference])
    },
  )

  test('whose untar is stopped: the decompressor that waits for it is not accused', row, async () => {
    startPull()
    const [, pid] = await waitForChildren()
    process.kill(pid, 'SIGSTOP')
    const seen = await visit()
    process.kill(pid, 'SIGCONT')
    assert.deepEqual(pullCodes(seen), ['UNTAR_STOPPED'], JSON.stringify(seen.findings))
  })

  test('whose daemon is stopped: nobody else is accused', row, async () => {
    startPull()
    await waitForChildren()
    process.kill(docker.pid, 'SIGSTOP')
    const seen = await visit()
    process.kill(docker.pid, 'SIGCONT')
    assert.deepEqual([...new Set(pullCodes(seen))], ['ENGINE_STOPPED'], JSON.stringify(seen.findings))
  })

  test('whose filesystem is frozen: it names that', row, async () => {
    startPull()
    await waitForChildren()
    await run('fsfreeze', ['-f', loop.directory])
    try {
      const seen = await visit()
      assert.deepEqual([...new Set(pullCodes(seen))], ['FILESYSTEM_FROZEN'], JSON.stringify(seen.findings))
    } finally {
      await run('fsfreeze', ['-u', loop.directory])
    }
  })

  test('when there is none: it says so, and finds nothing wrong with pulls', row, async () => {
    const seen = await visit()
    assert.deepEqual(pullCodes(seen), ['NO_PULL'], JSON.stringify(seen.findings))
  })
})
