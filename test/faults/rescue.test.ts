/** Pulls that hang for good, and are brought to their end: the client is still there and is told that all is well. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type Engines, newestEngines, runOf } from '../testbed/newest.ts'
import { mountAsDocker } from '../testbed/peers.ts'
import { program, SickEngine } from './doctor-bed.ts'
import { type MadeLayer, makeDirectory, makeFile, makeLayer, makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 120_000 }
/** All kinds of standstill on each engine take minutes: `WINDLASS_LONG=1`. */
const isLong = process.env['WINDLASS_LONG'] === '1'
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
  /** The program that the engine starts. */
  readonly decompressor: 'unpigz' | 'igzip'
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

/** On a busy machine the next layer may get stuck only when the command has ended. */
async function rescueToTheEnd(client: ChildProcess, pid: number): Promise<void> {
  let rescued = 0
  for (let rounds = 0; rounds < 8 && client.exitCode === null; rounds++) {
    const { status, outcomes } = await rescue(pid)
    assert.ok(
      outcomes.every(({ result }) => result === 'rescued'),
      JSON.stringify(outcomes),
    )
    assert.equal(status, 0)
    // containerd notes nothing new of content that it had before: what a client that was killed had pulled.
    assert.ok(
      outcomes.every(
        ({ facts, message }) => facts?.['isProven'] === true || /it cannot be seen|cannot be seen$/.test(message),
      ),
      JSON.stringify(outcomes),
    )
    rescued += outcomes.length
  }
  assert.ok(rescued > 0 || client.exitCode !== null)
  await endsWell(client)
}

async function endsWell(client: ChildProcess): Promise<void> {
  if (client.exitCode === null && client.signalCode === null) await once(client, 'exit')
  assert.deepEqual([client.exitCode, client.signalCode], [0, null])
}

async function startStuckPull({ sick, hasUntar, decompressor }: Patient, fault: Fault): Promise<ChildProcess> {
  await plantBroken(sick.shims, fault, decompressor)
  const client = sick.startPull(image.reference)
  await sick.unpacking(hasUntar)
  await waitUntil('it is stuck', 20_000, () => sick.children().some(({ pid }) => isStuck(pid, fault)))
  return client
}

function testStopped(patient: () => Patient): void {
  test('whose healthy decompressor was stopped, with all its threads; a second pull waits for it', row, async () => {
    const { sick, readFromImage } = patient()
    const client = sick.startPull(image.reference)
    await stopAtOnce(sick)
    const second = sick.startPull(image.references[1] as string)
    await sleep(1000)
    await rescueToTheEnd(client, sick.pid)
    await Promise.all([endsWell(client), endsWell(second)])
    const noise = await readFromImage(image.references[1] as string, 'noise')
    assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
  })
}

/** What must be true of any engine. */
function testRescues(patient: () => Patient, faults: readonly Fault[], isTooFastToStop: boolean): void {
  afterEach(async () => {
    const { sick } = patient()
    rmSync(join(sick.shims, 'igzip'), { force: true })
    await sick.free()
  })

  for (const fault of faults) {
    test(`whose decompressor does this: ${fault}`, row, async () => {
      const { sick, readFromImage } = patient()
      const client = await startStuckPull(patient(), fault)
      await rescueToTheEnd(client, sick.pid)
      const noise = await readFromImage(image.reference, 'noise')
      assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
    })
  }

  if (!isTooFastToStop) testStopped(patient)

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

/** igzip is done with such a layer in a tenth of a second. */
async function stopAtOnce(sick: SickEngine): Promise<void> {
  const deadline = performance.now() + 20_000
  for (;;) {
    const running = sick.children().find(({ name }) => /^(igzip|unpigz|pigz)$/.test(name))
    if (running !== undefined) return void process.kill(running.pid, 'SIGSTOP')
    assert.ok(performance.now() < deadline, 'no decompressor was started')
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** The faults come after 300 000 bytes, one before all. */
function isStuck(pid: number, fault: Fault): boolean {
  const [state = '', written = ''] = factsOf(pid)
  return fault === 'stop-reading' ? state === 'S' : Number(written.replace('wchar: ', '')) >= 300_000
}

/** What must be refused, and leaves all as it was: tried with one engine. */
function testRefusals(patient: () => Patient): void {
  const every: readonly { readonly fault: Fault; readonly code: string }[] = [
    { fault: 'flip-and-sleep', code: 'RESCUE_PREFIX_DIFFERS' },
    { fault: 'close-stdout-and-live', code: 'RESCUE_OUTPUT_CLOSED' },
  ]
  const refusals = isLong ? every : every.slice(0, 1)
  for (const { fault, code } of refusals) {
    test(`that is refused, since the decompressor does this: ${fault}`, row, async () => {
      await expectRefusal(patient(), fault, code)
    })
  }

  test('that is refused, since somebody else traces the decompressor', row, async () => {
    await expectRefusal(patient(), 'sleep', 'RESCUE_TRACED', async pid => {
      const tracer = spawn('strace', ['-qq', '-o', '/dev/null', '-p', String(pid)], { stdio: 'ignore' })
      await waitUntil('it is traced', 10_000, () => !/TracerPid:\t0/.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
      return async () => {
        tracer.kill('SIGINT')
        await once(tracer, 'exit')
      }
    })
  })

  test('that is refused without the right to trace, and without the right to look', row, async () => {
    const seize = ['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace']
    await expectRefusal(patient(), 'sleep', undefined, undefined, seize)
  })

  test(
    'whose journal has no room: before the first byte nothing is changed, after it the rescue comes to its end',
    row,
    async () => {
      const { sick, hasUntar } = patient()
      const client = await startStuckPull(patient(), 'sleep')
      const { decompressor } = await sick.unpacking(hasUntar)
      const before = factsOf(decompressor)
      const whole = await rescueWithRoom(decompressor, 300)
      assert.equal(whole.status, 1, whole.stderr)
      assert.match(whole.stderr, /Cannot write the journal/)
      await sleep(300)
      assert.deepEqual(factsOf(decompressor), before)
      const reached = new Set<boolean>()
      for (
        let bytes = 600;
        client.exitCode === null && existsSync(`/proc/${decompressor}`);
        bytes += isLong ? 30 : 200
      ) {
        const { journal, stdout, stderr } = await rescueWithRoom(decompressor, bytes)
        // A line without an end is one that found no room.
        const hasWritten = /"step":"writer".*\n/.test(journal)
        reached.add(hasWritten)
        if (hasWritten) assert.equal(JSON.parse(stdout).outcomes[0].result, 'rescued', stdout + stderr)
        else assert.deepEqual(factsOf(decompressor), before, stderr)
      }
      assert.ok(reached.has(true))
      await rescueToTheEnd(client, sick.pid)
    },
  )

  test(
    'whose engine stops reading, and which is stopped by SIGTERM then: it ends, and the next one goes on',
    row,
    async () => {
      const { sick, readFromImage } = patient()
      const client = await startStuckPull(patient(), 'sleep')
      const { untar } = await sick.unpacking(true)
      const root = mkdtempSync(join(directory, 'root-'))
      const args = ['doctor', '--rescue', '--yes', '--root', root, '--pid', String(sick.pid)]
      const first = spawn(program, args, { stdio: 'ignore' })
      await waitUntil('it is about to write', 40_000, () => journalOf(root).includes('"step":"held"'))
      process.kill(untar, 'SIGSTOP')
      await sleep(1500)
      const ended = once(first, 'exit')
      assert.equal(first.exitCode, null, 'it ended by itself')
      first.kill('SIGTERM')
      await ended
      assert.equal(first.exitCode, 143)
      process.kill(untar, 'SIGCONT')
      await waitUntil('its writer has ended', 20_000, () => !/writing/.test(countOf(root)))
      const { outcomes } = await rescue(sick.pid) // whose journals are elsewhere
      assert.ok(
        outcomes.every(({ result }) => result === 'rescued'),
        JSON.stringify(outcomes),
      )
      await rescueToTheEnd(client, sick.pid)
      const noise = await readFromImage(image.reference, 'noise')
      assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
    },
  )

  test('that is killed while it writes: the next one goes on at the very byte', row, async () => {
    const { sick, readFromImage } = patient()
    const client = await startStuckPull(patient(), 'sleep')
    const root = mkdtempSync(join(directory, 'root-'))
    const first = spawn(program, ['doctor', '--rescue', '--yes', '--root', root, '--pid', String(sick.pid)], {
      stdio: 'ignore',
    })
    await waitUntil('it writes', 40_000, () => journalOf(root).includes('"step":"writer"'))
    first.kill('SIGKILL')
    await once(first, 'exit')
    await waitUntil('its writer has ended', 10_000, () => /done|EPIPE/.test(countOf(root)))
    const { outcomes } = await rescue(sick.pid, ['--yes', '--root', root])
    assert.ok(outcomes.length > 0 && outcomes.every(({ result }) => result === 'rescued'), JSON.stringify(outcomes))
    await rescueToTheEnd(client, sick.pid)
    const noise = await readFromImage(image.reference, 'noise')
    assert.ok(noise.equals((layers[0] as MadeLayer).tar.subarray(512, 512 + 12 * MiB)))
  })
}

/** A limit on the length of files stands for a disk that has no room any more: the same writes fail, at the same places. */
async function rescueWithRoom(pid: number, bytes: number) {
  const root = mkdtempSync(join(directory, 'root-'))
  const limited = ['sh', '-c', `trap '' XFSZ; exec prlimit --fsize=${bytes} "$@"`, 'sh']
  const args = [program, 'doctor', '--rescue', '--yes', '--json', '--root', root, '--pid', String(pid)]
  const [file = '', ...rest] = [...limited, ...args]
  const { status, stdout, stderr } = await runCommand(file, rest)
  return { status, stdout, stderr, journal: journalOf(root) }
}

function journalOf(root: string): string {
  return filesOf(root, '.jsonl')
}

function countOf(root: string): string {
  return filesOf(root, '.count')
}

function filesOf(root: string, suffix: string): string {
  const directory = join(root, 'cures')
  const names = existsSync(directory) ? readdirSync(directory).filter(name => name.endsWith(suffix)) : []
  return names.map(name => readFileSync(join(directory, name), 'utf8')).join('')
}

/** @param code any if undefined; `prepare` makes it impossible, and gives how that is taken back */
async function expectRefusal(
  patient: Patient,
  fault: Fault,
  code: string | undefined,
  prepare: (pid: number) => Promise<() => Promise<void>> = async () => async () => {},
  wrapper: readonly string[] = [],
): Promise<void> {
  const { sick, hasUntar } = patient
  await startStuckPull(patient, fault)
  const { decompressor } = await sick.unpacking(hasUntar)
  const takeBack = await prepare(decompressor)
  try {
    const before = factsOf(decompressor)
    const { status, outcomes } = await rescue(sick.pid, ['--yes', '--pid', String(decompressor)], wrapper)
    if (wrapper.length === 0 || outcomes.length > 0) {
      assert.deepEqual(
        outcomes.map(({ result }) => result),
        ['refused'],
        JSON.stringify(outcomes),
      )
      assert.equal(status, 11)
    }
    if (code !== undefined) assert.equal(outcomes[0]?.code, code, JSON.stringify(outcomes))
    await sleep(300)
    assert.deepEqual(factsOf(decompressor), before)
  } finally {
    await takeBack()
  }
}

/** State, and bytes written: a process that goes on as before has the same. */
function factsOf(pid: number): readonly string[] {
  const state = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .slice(0, 1)
  return [state, /wchar: \d+/.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[0] ?? '']
}

async function openDocker(engines?: Engines) {
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
    patient: {
      sick,
      decompressor: 'unpigz' as const,
      hasUntar: engines === undefined,
      disk: loop.directory,
      readFromImage,
    },
  }
}

async function openContainerd(engines?: Engines) {
  const loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
  const shims = mkdtempSync(join(directory, 'shims-'))
  const containerd = await startContainerd(join(loop.directory, 'containerd'), shims, engines)
  const client = [...(engines ?? []), 'ctr', '-a', containerd.socket, 'images']
  const sick = new SickEngine(containerd.pid, shims, [...client, 'pull', '--plain-http'], [...client, 'rm', '--sync'])
  const readFromImage = async (reference: string, path: string) => {
    const copy = join(mkdtempSync(join(directory, 'copy-')), 'file')
    const script = `mkdir "$1"; ctr -a "$2" images mount "$3" "$1" >&2; cp "$1/$4" "$5"; ctr -a "$2" images unmount --rm "$1"`
    const args = [join(loop.directory, 'mounted'), containerd.socket, reference, path, copy]
    await runOf(engines ?? [], ['sh', '-ec', script, 'sh', ...args]) // the mount is seen in the root of the engine alone
    rmSync(join(loop.directory, 'mounted'), { recursive: true, force: true })
    return readFileSync(copy)
  }
  return {
    loop,
    daemon: containerd,
    patient: {
      sick,
      decompressor: engines === undefined ? ('unpigz' as const) : ('igzip' as const),
      hasUntar: false,
      disk: loop.directory,
      readFromImage,
    },
  }
}

function testEngine(
  open: () => Promise<{ loop: LoopFilesystem; daemon: AsyncDisposable; patient: Patient }>,
  faults: readonly Fault[],
  more?: (patient: () => Patient) => void,
  isTooFastToStop = false,
) {
  let bed: Awaited<ReturnType<typeof open>>
  before(async () => {
    bed = await open()
  })
  after(async () => {
    await bed?.daemon[Symbol.asyncDispose]()
    await bed?.loop[Symbol.asyncDispose]()
  })
  testRescues(() => bed.patient, faults, isTooFastToStop)
  more?.(() => bed.patient)
}

const everyFault: readonly Fault[] = ['spin', 'sleep', 'stop-reading', 'stop-itself', 'ignore-sigterm']

describe('a rescue of', { concurrency: true }, () => {
  describe('a docker pull', { concurrency: 1 }, () =>
    testEngine(() => openDocker(), isLong ? everyFault : ['spin'], testRefusals),
  )
  describe('a containerd pull', { concurrency: 1 }, () =>
    testEngine(() => openContainerd(), isLong ? everyFault : ['stop-itself']),
  )
  const newest = newestEngines()
  if (newest === undefined) return
  describe('a pull of the newest docker', { concurrency: 1 }, () => testEngine(() => openDocker(newest), everyFault))
  describe('a pull of the newest containerd', { concurrency: 1 }, () =>
    testEngine(() => openContainerd(newest), everyFault, undefined, true),
  )
})
