/** Pulls that hang for good, and are brought to their end: the client is still there and is told that all is well. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import type { newestEngines } from '../testbed/newest.ts'
import { mountAsDocker } from '../testbed/peers.ts'
import { program, SickEngine } from './doctor-bed.ts'
import { type MadeLayer, makeDirectory, makeFile, makeLayer, makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 120_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-rescue-'))
const MiB = 1 << 20
/** A layer in which every decompressor gets stuck, one that it may pass, and a second image that shares the first. */
const layers: readonly MadeLayer[] = [
  makeNoise('noise', 12 * MiB),
  makeLayer([makeDirectory('etc/'), makeFile('etc/hello', 'hello'), ...makeNoiseFiles(20)]),
]
let image: ServedImage

function makeNoiseFiles(count: number) {
  return Array.from({ length: count }, (_, at) => makeFile(`files-${at}`, Buffer.alloc(100_000, `${at} of many `)))
}

before(async () => {
  image = await serveImage(layers, {}, [layers, [layers[0] as MadeLayer]])
})
after(async () => {
  await image?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

interface Outcome {
  readonly result: string
  readonly code?: string
  readonly message: string
  readonly facts?: Readonly<Record<string, unknown>>
}

interface Patient {
  readonly sick: SickEngine
  readonly hasUntar: boolean
  readonly disk: string
  /** The file of the unpacked image. */
  readFromImage(reference: string, path: string): Promise<Buffer>
}

async function rescue(pid: number, args: readonly string[] = ['--yes'], wrapper: readonly string[] = []) {
  const root = mkdtempSync(join(directory, 'root-'))
  const [file = '', ...rest] = [
    ...wrapper,
    program,
    'doctor',
    '--rescue',
    '--json',
    '--root',
    root,
    '--pid',
    String(pid),
  ]
  const { status, stdout, stderr } = await runCommand(file, [...rest, ...args])
  assert.notEqual(stdout, '', stderr)
  return { status, root, outcomes: (JSON.parse(stdout) as { readonly outcomes: readonly Outcome[] }).outcomes }
}

async function endsWell(client: ChildProcess): Promise<void> {
  if (client.exitCode === null && client.signalCode === null) await once(client, 'exit')
  assert.deepEqual([client.exitCode, client.signalCode], [0, null])
}

async function startStuckPull({ sick, hasUntar }: Patient, fault: Fault): Promise<ChildProcess> {
  await plantBroken(sick.shims, fault)
  const client = sick.startPull(image.reference)
  await sick.unpacking(hasUntar)
  await sleep(500)
  return client
}

/** What must be true of any engine. */
function testRescues(patient: () => Patient, faults: readonly Fault[]): void {
  afterEach(() => patient().sick.free())

  for (const fault of faults) {
    test(`whose decompressor does this: ${fault}`, row, async () => {
      const { sick, readFromImage } = patient()
      const client = await startStuckPull(patient(), fault)
      const { status, outcomes } = await rescue(sick.pid)
      assert.equal(outcomes.length, layers.length, JSON.stringify(outcomes))
      assert.ok(
        outcomes.every(({ result }) => result === 'rescued'),
        JSON.stringify(outcomes),
      )
      assert.equal(status, 0)
      await endsWell(client)
      const noise = await readFromImage(image.reference, 'noise')
      assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
    })
  }

  test('whose healthy decompressor was stopped, with all its threads; a second pull waits for it', row, async () => {
    const { sick, hasUntar, readFromImage } = patient()
    const client = sick.startPull(image.reference)
    const { decompressor } = await sick.unpacking(hasUntar)
    process.kill(decompressor, 'SIGSTOP')
    const second = sick.startPull(image.references[1] as string)
    await sleep(1000)
    const { outcomes } = await rescue(sick.pid)
    assert.ok(outcomes.length > 0)
    assert.ok(
      outcomes.every(({ result }) => result === 'rescued'),
      JSON.stringify(outcomes),
    )
    await Promise.all([endsWell(client), endsWell(second)])
    const noise = await readFromImage(image.references[1] as string, 'noise')
    assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
  })

  test('of which only the plan is wanted: nothing is touched', row, async () => {
    const { sick } = patient()
    await startStuckPull(patient(), 'sleep')
    const [{ pid } = { pid: 0 }] = sick.children()
    const before = factsOf(pid)
    const { outcomes, status } = await rescue(sick.pid, ['--dry-run'])
    assert.deepEqual(
      outcomes.map(({ result }) => result),
      ['planned'],
    )
    assert.equal(outcomes[0]?.facts?.['position'], 300_000)
    assert.equal(status, 0)
    assert.deepEqual(factsOf(pid), before)
  })
}

/** State, and bytes written: a process that goes on as before has the same. */
function factsOf(pid: number): readonly string[] {
  const state = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .slice(0, 1)
  return [state, /wchar: \d+/.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[0] ?? '']
}

async function openDocker(engines = undefined as ReturnType<typeof newestEngines>) {
  const loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
  const shims = mkdtempSync(join(directory, 'shims-'))
  const docker = await startDocker(join(loop.directory, 'docker'), shims, engines)
  const client = [...(engines ?? []), 'docker', '-H', `unix://${docker.socket}`]
  const sick = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
  const readFromImage = async (reference: string, path: string) => {
    const target = mkdtempSync(join(directory, 'mount-'))
    await mountAsDocker(docker, reference, target)
    try {
      return readFileSync(join(target, path))
    } finally {
      await run('umount', [target])
    }
  }
  return {
    loop,
    daemon: docker,
    patient: { sick, hasUntar: engines === undefined, disk: loop.directory, readFromImage },
  }
}

async function openContainerd(engines = undefined as ReturnType<typeof newestEngines>) {
  const loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
  const shims = mkdtempSync(join(directory, 'shims-'))
  const containerd = await startContainerd(join(loop.directory, 'containerd'), shims, engines)
  const client = [...(engines ?? []), 'ctr', '-a', containerd.socket, 'images']
  const sick = new SickEngine(containerd.pid, shims, [...client, 'pull', '--plain-http'], [...client, 'rm', '--sync'])
  const readFromImage = async (reference: string, path: string) => {
    const target = join(loop.directory, 'mounted')
    await mkdir(target, { recursive: true })
    await containerd.ctr('images', 'mount', reference, target)
    try {
      return readFileSync(join(target, path))
    } finally {
      await containerd.ctr('images', 'unmount', '--rm', target)
    }
  }
  return { loop, daemon: containerd, patient: { sick, hasUntar: false, disk: loop.directory, readFromImage } }
}

function testEngine(
  open: () => Promise<{ loop: LoopFilesystem; daemon: AsyncDisposable; patient: Patient }>,
  faults: readonly Fault[],
  more?: (patient: () => Patient) => void,
) {
  let bed: Awaited<ReturnType<typeof open>>
  before(async () => {
    bed = await open()
  })
  after(async () => {
    await bed?.daemon[Symbol.asyncDispose]()
    await bed?.loop[Symbol.asyncDispose]()
  })
  testRescues(() => bed.patient, faults)
  more?.(() => bed.patient)
}

/** All kinds of standstill on each engine take minutes: `WINDLASS_LONG=1`. */
const isLong = process.env['WINDLASS_LONG'] === '1'
const everyFault: readonly Fault[] = ['spin', 'sleep', 'stop-reading', 'stop-itself', 'ignore-sigterm']

describe('a rescue of', { concurrency: true }, () => {
  describe('a docker pull', { concurrency: 1 }, () =>
    testEngine(openDocker, isLong ? everyFault : ['spin', 'stop-reading']),
  )
  describe('a containerd pull', { concurrency: 1 }, () =>
    testEngine(openContainerd, isLong ? everyFault : ['stop-itself']),
  )
})
