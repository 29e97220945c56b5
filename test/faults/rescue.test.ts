/** Pulls that hang for good, and are brought to their end: the client is still there and is told that all is well. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { Journal } from '../../src/doctor/cures/journal.ts'
import { readBoot } from '../../src/doctor/rescue/unfinished.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { OutlivingWriter } from '../../src/sys/outliving-writer.ts'
import { type ProcessFacts, readProcess } from '../../src/sys/tasks.ts'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { readIfThere } from '../read-if-there.ts'
import { well } from '../servers/faulty-registry.ts'
import { digestOf } from '../servers/push.ts'
import { runCommand, waitUntil } from '../testbed/command.ts'
import { type Engines, newestEngines } from '../testbed/newest.ts'
import { isDeadlocked, loseWakeup } from './deadlock.ts'
import { windlassCommand } from './death.ts'
import { childrenOf, program, type SickEngine } from './doctor-bed.ts'
import {
  type MadeLayer,
  makeDirectory,
  makeFile,
  makeLayer,
  makeNoise,
  type ServedImage,
  serveImage,
  trickle,
} from './image.ts'
import {
  type Bed,
  faultAt,
  isLarge,
  makeStuckLayer,
  openContainerd,
  openDocker,
  openPodmanBed,
  type Patient,
  row,
  type StuckLayer,
  stuckMs,
} from './rescue-bed.ts'

/** All kinds of standstill on each engine take minutes: `WINDLASS_LONG=1`. */
const isLong = process.env['WINDLASS_LONG'] === '1'
const directory = mkdtempSync(join(tmpdir(), 'windlass-rescue-'))
/** The layer in which every decompressor gets stuck. */
let stuckLayer: StuckLayer
/** Of it and a layer that the decompressor may pass; the second image is of the first layer alone. */
let image: ServedImage

function makeNoiseFiles(count: number) {
  return Array.from({ length: count }, (_, at) => makeFile(`files-${at}`, Buffer.alloc(100_000, `${at} of many `)))
}

before(async () => {
  if (isLarge) process.env['WINDLASS_FAULT_AT'] = String(faultAt) // engines hand it on
  stuckLayer = await makeStuckLayer()
  const passed = makeLayer([makeDirectory('etc/'), makeFile('etc/hello', 'hello'), ...makeNoiseFiles(20)])
  const { layer } = stuckLayer
  image = await serveImage([layer, passed], {}, [[layer, passed], [layer]])
}, row)
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

async function rescue(pid: number, args: readonly string[] = ['--yes']) {
  const root = mkdtempSync(join(directory, 'root-'))
  const own = ['doctor', '--rescue', '--json', '--root', root, '--pid', String(pid)]
  const { status, stdout, stderr } = await runCommand(program, [...own, ...args], { timeoutMs: row.timeout })
  assert.notEqual(stdout, '', stderr)
  return { status, root, outcomes: (JSON.parse(stdout) as { readonly outcomes: readonly Outcome[] }).outcomes }
}

/** On a busy machine the next layer may get stuck only when the command has ended. @returns how many were rescued */
async function rescueToTheEnd(client: ChildProcess, pid: number): Promise<number> {
  let rescued = 0
  for (let rounds = 0; rounds < 8 && client.exitCode === null; rounds++) {
    const { status, outcomes } = await rescue(pid)
    assert.ok(
      outcomes.every(({ result }) => result === 'rescued'),
      JSON.stringify(outcomes),
    )
    // Of two that unpack the same layer in a containerd the second one's comes to what is there already: it shows nothing new.
    const unproven = outcomes.filter(({ facts }) => facts?.['isProven'] !== true)
    assert.ok(
      unproven.every(({ message }) => /was registered before/.test(message)),
      JSON.stringify(outcomes),
    )
    assert.equal(status, unproven.length > 0 ? 10 : 0)
    rescued += outcomes.length
  }
  await endsWell(client)
  return rescued
}

async function endsWell(client: ChildProcess): Promise<void> {
  if (client.exitCode === null && client.signalCode === null) await once(client, 'exit')
  assert.deepEqual([client.exitCode, client.signalCode], [0, null])
}

async function startStuckPull(
  { sick, hasUntar, decompressor }: Patient,
  fault: Fault,
  reference = image.reference,
): Promise<ChildProcess> {
  await plantBroken(sick.shims, fault, decompressor)
  const client = sick.startPull(reference)
  await sick.unpacking(hasUntar, stuckMs)
  await waitUntil('it is stuck', stuckMs, () => sick.children().some(({ pid }) => isStuck(pid, fault)))
  return client
}

/** A second pull that waits for the layer, or meets the same decompressor, comes to its end with the first. */
async function rescueBoth(patient: Patient, client: ChildProcess): Promise<void> {
  const { sick } = patient
  const second = sick.startPull(image.references[1] as string)
  await sleep(1000)
  assert.ok((await rescueToTheEnd(client, sick.pid)) > 0)
  await rescueToTheEnd(second, sick.pid)
  for (const reference of image.references) await assertWhole(patient, reference)
}

async function assertWhole({ sumInImage }: Patient, reference: string): Promise<void> {
  assert.equal(await sumInImage(reference, 'noise'), stuckLayer.sum)
}

function testStopped(patient: () => Patient, isTooFastToStop: boolean): void {
  test('whose healthy decompressor was stopped, with all its threads; a second pull waits for it', row, async () => {
    const { sick } = patient()
    if (isTooFastToStop) holdBack(patient())
    else plantReal(patient())
    const client = sick.startPull(image.reference)
    await (isTooFastToStop ? stopBehindGate(patient()) : stopAtOnce(sick))
    await rescueBoth(patient(), client)
  })
}

/** Where an engine that looks its decompressor up once has found it. */
function plantReal({ sick, decompressor }: Patient): void {
  const shim = join(sick.shims, decompressor)
  rmSync(shim, { force: true })
  writeFileSync(shim, `#!/bin/sh\nexec /usr/bin/${decompressor} "$@"\n`, { mode: 0o755 })
}

const gateOf = (sick: SickEngine) => join(sick.shims, 'gate')

/** The real one begins when the gate opens. */
function holdBack({ sick, decompressor }: Patient, before = ''): void {
  rmSync(gateOf(sick), { force: true })
  const script = `#!/bin/sh\nwhile [ ! -e ${gateOf(sick)} ]; do sleep 0.05; done\n${before}exec /usr/bin/${decompressor} "$@"\n`
  writeFileSync(join(sick.shims, decompressor), script, { mode: 0o755 })
}

/** What is done with a layer before anybody could stop it stands still while its engine neither gives nor takes. */
async function stopBehindGate({ sick, hasUntar, decompressor: name }: Patient): Promise<void> {
  const { decompressor } = await sick.unpacking(hasUntar, stuckMs)
  await sleep(500) // its input fills
  process.kill(sick.pid, 'SIGSTOP')
  try {
    writeFileSync(gateOf(sick), '')
    let before = ''
    await waitUntil('it has taken what there is', stuckMs, async () => {
      const now = readIfThere(`/proc/${decompressor}/io`)
      const isReal = readlinkSync(`/proc/${decompressor}/exe`).endsWith(`/bin/${name}`) // and no shell any more
      const isStill = now === before && isReal && factsIfThere(decompressor)[0] === 'S'
      before = now
      if (!isStill) await sleep(200)
      return isStill
    })
    process.kill(decompressor, 'SIGSTOP')
  } finally {
    process.kill(sick.pid, 'SIGCONT')
  }
}

/** Gives all of the layer, and then neither ends nor lets go of its complaints, which its engine reads to their end. What the tests' own surroundings have left open is closed first. */
const lingering = `#!/bin/bash
for fd in /proc/$$/fd/*; do
  fd=\${fd##*/}
  [ $fd -le 2 ] || [ $fd = 255 ] || eval "exec $fd>&-"
done
/usr/bin/gzip -d -c
exec 1>&-
sleep 1000
`

/** The engine waits for the process alone then: as long as that lives, and as long as one of its children does that has inherited its stderr. */
function testLingering(patient: () => Patient): void {
  test('whose decompressor has given all, has closed its output, and lives on with a child', row, async () => {
    const { sick, decompressor, hasUntar } = patient()
    const shim = join(sick.shims, decompressor)
    rmSync(shim, { force: true })
    writeFileSync(shim, lingering, { mode: 0o755 })
    const client = sick.startPull(image.reference)
    await sick.unpacking(hasUntar, stuckMs)
    const hasClosed = (pid: number) => existsSync(`/proc/${pid}/fd/0`) && !existsSync(`/proc/${pid}/fd/1`)
    await waitUntil('it has closed its output', stuckMs, () => sick.children().some(({ pid }) => hasClosed(pid)))
    await rescueBoth(patient(), client)
  })
}

/** A pigz whose threads all wait for each other. Where the kernel begins an interrupted call again with what it kept, such as on arm64, it cannot be made. */
function testDeadlock(patient: () => Patient): void {
  const skip = process.arch !== 'x64' && 'only x64 begins an interrupted call again with registers that were changed'
  test('whose decompressor is a real pigz that has lost a wake-up', { ...row, skip }, async () => {
    const { sick } = patient()
    const gate = join(directory, `gate-${process.hrtime.bigint()}`)
    sick.useScript(`while [ ! -e ${gate} ]; do sleep 0.05; done\nexec /usr/bin/pigz -d -c`)
    const client = sick.startPull(image.reference)
    const { decompressor, untar } = await sick.unpacking(true)
    process.kill(untar, 'SIGSTOP')
    writeFileSync(gate, '')
    await loseWakeup(decompressor)
    process.kill(untar, 'SIGCONT')
    await waitUntil('all its threads wait for each other', 20_000, () => isDeadlocked(decompressor))
    await rescueBoth(patient(), client)
  })
}

type EngineTests = (patient: () => Patient) => void

/** What must be true of any engine. */
const withFaults =
  (faults: readonly Fault[], isTooFastToStop = false): EngineTests =>
  patient =>
    testRescues(patient, faults, isTooFastToStop)

function testRescues(patient: () => Patient, faults: readonly Fault[], isTooFastToStop: boolean): void {
  for (const fault of faults) {
    test(`whose decompressor does this: ${fault}; a second pull waits for it`, row, async () => {
      await rescueBoth(patient(), await startStuckPull(patient(), fault))
    })
  }

  testStopped(patient, isTooFastToStop)

  if (isLarge) return
  testSmall(patient)
  testLingering(patient)
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
    assert.equal(outcomes[0]?.facts?.['position'], faultAt)
    assert.equal(status, 0)
    assert.deepEqual(factsOf(pid), before)
  })
}

/** As GNU tar, Python and bsdtar end an archive: of the padding, little that tells it from others is left in the last compressed bytes. */
function makePadded(): MadeLayer {
  const { tar } = makeLayer([
    makeFile('noise', sameNoise.subarray(0, 9000)),
    makeFile('text', Buffer.alloc(900_000, 'text ')),
  ])
  const padded = Buffer.concat([tar, Buffer.alloc(10_240 - (tar.length % 10_240))])
  return { tar: padded, blob: gzipSync(padded) }
}

/** An engine hands it over at once, and dockerd closes its file. */
function testSmall(patient: () => Patient): void {
  async function comesToTheEnd(served: ServedImage, client: ChildProcess): Promise<void> {
    const { sick, sumInImage } = patient()
    assert.equal(await rescueToTheEnd(client, sick.pid), 1)
    const sum = createHash('sha256').update(sameNoise.subarray(0, 9000)).digest('hex')
    assert.equal(await sumInImage(served.reference, 'noise'), sum)
  }

  test('of a small layer that ends like many others, and waits whole for its decompressor', row, async () => {
    const { sick, hasUntar, decompressor } = patient()
    await using served = await serveImage([makePadded()])
    await plantBroken(sick.shims, 'stop-reading', decompressor)
    const client = sick.startPull(served.reference)
    await sick.unpacking(hasUntar)
    await sleep(1000) // its input fills
    await comesToTheEnd(served, client)
  })

  test(
    'of a small layer that ends like many others, and that its healthy decompressor has read whole',
    row,
    async () => {
      const { sick } = patient()
      await using served = await serveImage([makePadded()])
      holdBack(patient())
      const client = sick.startPull(served.reference)
      await stopBehindGate(patient())
      await comesToTheEnd(served, client)
    },
  )
}

/** Of content that it has had before, nothing new is noted. */
function testNotedBefore(patient: () => Patient): void {
  test('whose layer was verified before, and has to be unpacked again', row, async () => {
    const { sick, forgetUnpacked } = patient()
    const reference = image.references[1] as string
    plantReal(patient())
    await endsWell(sick.startPull(reference))
    const { layer } = stuckLayer
    await forgetUnpacked?.(layer.diffId ?? digestOf(layer.tar))
    const client = await startStuckPull(patient(), 'sleep', reference)
    assert.equal(await rescueToTheEnd(client, sick.pid), 1)
    await assertWhole(patient(), reference)
  })
}

/** igzip is done with such a layer in a tenth of a second. */
async function stopAtOnce(sick: SickEngine): Promise<void> {
  const deadline = performance.now() + stuckMs
  for (;;) {
    const running = sick.children().find(({ name }) => /^(igzip|unpigz|pigz)$/.test(name))
    if (running !== undefined) return void process.kill(running.pid, 'SIGSTOP')
    assert.ok(performance.now() < deadline, 'no decompressor was started')
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** The faults come after 300 000 bytes, one before all; all but one stand still then. */
function isStuck(pid: number, fault: Fault): boolean {
  const [state = '', written = ''] = factsIfThere(pid)
  const stands = /[STt]/.test(state)
  if (fault === 'stop-reading') return stands
  return Number(written.replace('wchar: ', '')) >= faultAt && (stands || fault === 'spin')
}

/** Engines start processes that end at once, too. */
function factsIfThere(pid: number): readonly string[] {
  try {
    return factsOf(pid)
  } catch {
    return []
  }
}

/** Programs with a clock of their own write to themselves, and the kernel counts that like all that they write. */
function testWritesElsewhere(patient: () => Patient): void {
  test('whose decompressor takes nothing, and writes to something else all the time', row, async () => {
    const { sick, hasUntar } = patient()
    const shim = join(sick.shims, sick.decompressor)
    rmSync(shim)
    const writing = `open(my $other, '>', '/dev/null'); while (1) { syswrite($other, 'x'); select(undef, undef, undef, 0.01) }`
    writeFileSync(shim, `#!/usr/bin/perl\n${writing}\n`, { mode: 0o755 })
    const reference = image.references[1] as string
    const client = sick.startPull(reference)
    const { decompressor } = await sick.unpacking(hasUntar)
    await sleep(1000) // its input fills
    const { outcomes } = await rescue(decompressor)
    assert.equal(outcomes[0]?.result, 'rescued', JSON.stringify(outcomes))
    await endsWell(client)
    await assertWhole(patient(), reference)
  })
}

/** The kernel counts what a loader complains of like what its program writes. */
function testComplains(patient: () => Patient): void {
  test('whose decompressor has a loader that has complained', row, async () => {
    const { sick, hasUntar } = patient()
    holdBack(patient(), 'export LD_PRELOAD=/nowhere.so\n')
    const reference = image.references[1] as string
    const client = sick.startPull(reference)
    await stopBehindGate(patient())
    const { decompressor } = await sick.unpacking(hasUntar)
    const { outcomes } = await rescue(decompressor)
    assert.equal(outcomes[0]?.result, 'rescued', JSON.stringify(outcomes))
    await endsWell(client)
    await assertWhole(patient(), reference)
  })
}

/** A layer that is small enough to wait in a pipe is handed over whole, and comes from the registry again. */
function testSlowRegistry(patient: () => Patient): void {
  test(
    'under the service, whose layer comes slowly from its registry: as long as it comes it is not given up',
    row,
    async () => {
      const { sick, decompressor: name } = patient()
      let requests = 0
      const small = makeNoise('noise', 40_000)
      await using served = await serveImage([small], {
        0: exchange => (++requests > 1 ? trickle(80) : well())(exchange),
      })
      await plantBroken(sick.shims, 'stop-reading', name)
      const client = sick.startPull(served.reference)
      const { decompressor } = await sick.unpacking(true)
      await sleep(1000) // its input fills
      const root = mkdtempSync(join(directory, 'root-'))
      const own = ['doctor', '--watch', '--rescue', '--root', root, '--pid', String(decompressor), '--give-up', '5']
      const service = spawn(program, own, { stdio: ['ignore', 'pipe', 'inherit'] })
      let log = ''
      service.stdout.on('data', data => {
        log += String(data)
      })
      try {
        await waitUntil('it has told', 60_000, () => log.includes('\n'))
        assert.equal(JSON.parse(log.split('\n')[0] ?? '').result, 'rescued', log)
        await endsWell(client)
      } finally {
        service.kill('SIGTERM')
      }
      assert.ok(requests > 1)
    },
  )
}

/** Both begin with the same file, and have the same length, or nearly. */
function makeAlike(end: string): MadeLayer {
  return makeLayer([makeFile('noise', sameNoise), makeFile('end', end)])
}
const sameNoise = randomBytes(320_000)

/** Names, lengths, and the content of the file that the engine has open are as they would be. */
function testAnotherLayer(patient: () => Patient): void {
  async function refusesImage(start: (sick: SickEngine) => ChildProcess, reference: string): Promise<void> {
    const { sick, hasUntar, decompressor: name } = patient()
    await plantBroken(sick.shims, 'sleep', name)
    const client = start(sick)
    const { decompressor } = await sick.unpacking(hasUntar)
    await waitUntil('it is stuck', stuckMs, () => isStuck(decompressor, 'sleep'))
    await sleep(500)
    await assertRefused(decompressor, 'RESCUE_NO_LAYER', ['--image', reference])
    const ended = once(client, 'exit')
    await sick.free()
    await ended
  }

  test('that is refused, since it is no pull that hangs, but an import that begins like the image', row, async () => {
    await using served = await serveImage([makeAlike('of the image')])
    const start = () => patient().startImport?.(makeAlike('of the import').blob) as ChildProcess
    await refusesImage(start, served.reference)
  })

  test('that is refused, since the image has been given another layer that begins alike', row, async () => {
    const [pulled, pushed] = [makeAlike('of the one that is pulled'), makeAlike('of the one that came after it')]
    await using served = await serveImage([pulled, pushed], {}, [[pulled], [pushed]])
    await refusesImage(sick => sick.startPull(served.reference), served.references[1] as string)
  })
}

/** Odd decompressors and odd layers, and what must be refused, and leaves all as it was: it makes no difference between engines, and is tried with one of them. */
function testOddities(patient: () => Patient): void {
  testDeadlock(patient)
  testWritesElsewhere(patient)
  testComplains(patient)
  if (isLong) testSlowRegistry(patient)
  testAnotherLayer(patient)
  testRefusals(patient)
}

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

  test(
    'that is refused, since somebody has written to the output, and has noted it where nobody finds it',
    row,
    async () => {
      await expectRefusal(patient(), 'sleep', 'RESCUE_WRITER_LOST', async pid => {
        // What a rescue does before its first byte; it may have had a /run of its own, as in a container.
        const writing = openSync(`/proc/${pid}/fd/1`, constants.O_WRONLY)
        const countFile = join(mkdtempSync(join(directory, 'count-')), 'count')
        using writer = new OutlivingWriter(writing, countFile)
        assert.ok(writer.mark())
        await writer.end(AbortSignal.timeout(10_000))
        return async () => {}
      })
    },
  )

  test('that is refused after one that was killed had stopped the decompressor: it goes on', row, async () => {
    const { sick, hasUntar } = patient()
    await startStuckPull(patient(), 'close-stdout-and-live')
    const { decompressor: pid } = await sick.unpacking(hasUntar)
    const before = factsOf(pid)
    const root = mkdtempSync(join(directory, 'root-'))
    {
      using journal = new Journal(join(root, 'cures'), 'rescue')
      const { startTicks } = readProcess(pid) as ProcessFacts
      journal.write('begin', { boot: readBoot(new LiveHost()), process: { pid, startTicks }, wereStopped: [] })
    }
    process.kill(pid, 'SIGSTOP')
    await waitUntil('it is stopped', 10_000, () => factsOf(pid)[0] === 'T')
    const { outcomes } = await rescue(pid, ['--yes', '--root', root])
    assert.equal(outcomes[0]?.code, 'RESCUE_OUTPUT_CLOSED', JSON.stringify(outcomes))
    await waitUntil('it goes on', 10_000, () => factsOf(pid)[0] === before[0])
    assert.deepEqual(factsOf(pid), before)
  })

  test('that is refused without the right to look and to trace', row, async () => {
    const { sick } = patient()
    await startStuckPull(patient(), 'sleep')
    const { decompressor } = await sick.unpacking(true)
    const before = snapshotOf(decompressor)
    const powerless = [
      'setpriv',
      '--bounding-set=-sys_ptrace',
      '--inh-caps=-sys_ptrace',
      program,
      'doctor',
      '--rescue',
      '--yes',
    ]
    const [file = '', ...args] = powerless
    const named = await runCommand(file, [...args, '--pid', String(decompressor)])
    assert.equal(named.status, 7, named.stdout + named.stderr)
    assert.match(named.stderr, /what it has open may not be seen/)
    const found = await runCommand(file, [...args, '--pid', String(sick.pid)])
    assert.equal(found.status, 10, found.stdout + found.stderr)
    assert.match(found.stdout, /not all can be seen without root \(PULLS_HIDDEN\)/)
    assert.deepEqual(snapshotOf(decompressor), before)
  })

  test('that is refused, since the engine is a program of another user that is called like one', row, async () => {
    const place = mkdtempSync(join(tmpdir(), 'windlass-foreign-engine-'))
    const engine = join(place, 'dockerd')
    writeFileSync(engine, '#!/bin/bash\nsleep 1000 | gzip -d -c | sleep 1000\n', { mode: 0o755 })
    chmodSync(place, 0o755)
    const foreign = spawn('setpriv', ['--reuid=65534', '--clear-groups', engine], { stdio: 'ignore', detached: true })
    try {
      const gzip = () => childrenOf(foreign.pid as number).find(({ name }) => name === 'gzip')?.pid
      await waitUntil('it runs gzip, which waits', 10_000, () => factsIfThere(gzip() ?? 0)[0] === 'S')
      await assertRefused(gzip() as number, 'RESCUE_FOREIGN')
    } finally {
      process.kill(-(foreign.pid as number), 'SIGKILL')
      rmSync(place, { recursive: true })
    }
  })

  test('of a process that is none of an engine, or not there: it is said', row, async () => {
    for (const [pid, told] of [
      [process.pid, /it is no decompressor of an engine/],
      [4_194_305, /there is no such process/],
    ] as const) {
      const { status, stderr } = await runCommand(program, ['doctor', '--rescue', '--yes', '--pid', String(pid)])
      assert.equal(status, 2, stderr)
      assert.match(stderr, told)
    }
  })

  test('that is refused, since the decompressor is no 64-bit program', row, async () => {
    const { sick, hasUntar } = patient()
    rmSync(join(sick.shims, 'unpigz'))
    writeFileSync(join(sick.shims, 'unpigz'), makeSpinner32(), { mode: 0o755 })
    sick.startPull(image.reference)
    const { decompressor } = await sick.unpacking(hasUntar)
    await sleep(1000) // its input fills
    await assertRefused(decompressor, 'RESCUE_ARCHITECTURE')
  })
}

/** Rescues that are stopped half-way; tried with one engine as well. */
function testBreaks(patient: () => Patient): void {
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
        bytes += isLong ? 30 : 300
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
      const { sick } = patient()
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
      await assertWhole(patient(), image.reference)
    },
  )

  test(
    'whose engine stops reading under the service: it is given up and told, and the service goes on',
    row,
    async () => {
      const { sick } = patient()
      const client = await startStuckPull(patient(), 'sleep')
      const { decompressor, untar } = await sick.unpacking(true)
      await waitUntil('the engine has taken all', 30_000, async () => {
        const { outcomes } = await rescue(decompressor, ['--dry-run'])
        return outcomes[0]?.result === 'planned'
      })
      process.kill(untar, 'SIGSTOP')
      const root = mkdtempSync(join(directory, 'root-'))
      const metrics = join(root, 'metrics')
      const own = ['doctor', '--watch', '--rescue', '--root', root, '--pid', String(decompressor)]
      const service = spawn(program, [...own, '--give-up', '3', '--metrics', metrics], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let log = ''
      service.stdout.on('data', data => {
        log += String(data)
      })
      try {
        await waitUntil('it has counted', 60_000, () => /\{result="interrupted"\} 1$/m.test(readIfThere(metrics)))
        const line = JSON.parse(log.split('\n')[0] ?? '')
        assert.equal(line.result, 'interrupted', log)
        assert.match(
          line.message,
          /^broken off after \d+ of \d+ bytes: nothing has moved for 3 s; process \d+ gives the engine what it still has; it stands still/,
        )
        const [, lookedAt] = /timestamp_seconds (\d+)$/m.exec(readIfThere(metrics)) ?? []
        await waitUntil(
          'it looks again',
          30_000,
          () => !readIfThere(metrics).includes(`timestamp_seconds ${lookedAt}\n`),
        )
        assert.equal(service.exitCode, null)
      } finally {
        service.kill('SIGTERM')
        await once(service, 'exit')
        process.kill(untar, 'SIGCONT')
      }
      await waitUntil('its writer has ended', 20_000, () => !/writing/.test(countOf(root)))
      await rescueToTheEnd(client, sick.pid)
      await assertWhole(patient(), image.reference)
    },
  )

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    test(`that gets ${signal} after each of its steps, one after the other: each next one goes on`, row, async () => {
      await rescueInPieces(patient(), signal)
    })
  }
}

/**
 * Steps of the journal, each synced by the main thread: the directory, begin, held, write, writer, written, leave. Where all is written already, the next run comes from `held` to `written`
 * at once.
 */
const endings = isLong ? [1, 2, 3, 4, 5, 6, 5, 6] : [3, 5, 6]

/** A stuck pull on which one rescue after the other is begun, and ended by a signal, each one step further. */
async function rescueInPieces(patient: Patient, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const { sick, hasUntar } = patient
  const client = await startStuckPull(patient, 'sleep')
  const { decompressor } = await sick.unpacking(hasUntar)
  const [, written] = factsOf(decompressor)
  const reached = new Set<string>()
  let hasWritten = false
  for (const at of endings) {
    if (factsIfThere(decompressor).length === 0) break
    const root = mkdtempSync(join(directory, 'root-')) // each has its journals elsewhere
    const own = ['doctor', '--rescue', '--yes', '--root', root, '--pid', String(decompressor)]
    const inject = `inject=fsync:signal=${signal}:when=${at}`
    const trace = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync', '-e', inject]
    await runCommand('strace', [...trace, ...windlassCommand(...own)])
    const steps = journalOf(root).split('\n').filter(Boolean)
    const last = steps.length === 0 ? '' : (JSON.parse(steps.at(-1) as string) as { readonly step: string }).step
    reached.add(last)
    hasWritten ||= countOf(root) !== ''
    if (!hasWritten) assert.equal(factsOf(decompressor)[1], written)
    await waitUntil('its writer has ended', 20_000, () => !/writing/.test(countOf(root)))
  }
  assert.ok(reached.size >= 3, [...reached].join())
  await rescueToTheEnd(client, sick.pid)
  await assertWhole(patient, image.reference)
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

/** The least that Linux runs of i386: an ELF header, one segment, and a jump to itself. */
function makeSpinner32(): Buffer {
  const [base, headers] = [0x8048000, 52 + 32]
  const file = Buffer.alloc(headers + 2)
  file.write('\x7fELF', 'latin1')
  file.set([1, 1, 1], 4)
  const halves: readonly (readonly [at: number, value: number])[] = [
    [16, 2],
    [18, 3],
    [40, 52],
    [42, 32],
    [44, 1],
  ]
  for (const [at, value] of halves) file.writeUInt16LE(value, at)
  const words = [
    [20, 1],
    [24, base + headers],
    [28, 52],
    [52, 1],
    [60, base],
    [64, base],
    [68, file.length],
    [72, file.length],
    [76, 5],
    [80, 0x1000],
  ] as const
  for (const [at, value] of words) file.writeUInt32LE(value, at)
  file.set([0xeb, 0xfe], headers)
  return file
}

/** @param prepare makes it impossible, and gives how that is taken back */
async function expectRefusal(
  patient: Patient,
  fault: Fault,
  code: string,
  prepare: (pid: number) => Promise<() => Promise<void>> = async () => async () => {},
): Promise<void> {
  const { sick, hasUntar } = patient
  await startStuckPull(patient, fault)
  const { decompressor } = await sick.unpacking(hasUntar)
  const takeBack = await prepare(decompressor)
  try {
    await assertRefused(decompressor, code)
  } finally {
    await takeBack()
  }
}

/** Nothing has changed then: the process, what it has open, what it has given, and what is claimed. */
async function assertRefused(pid: number, code: string, args: readonly string[] = []): Promise<void> {
  const before = snapshotOf(pid)
  const { status, outcomes, root } = await rescue(pid, ['--yes', ...args])
  assert.deepEqual(
    outcomes.map(one => [one.result, one.code]),
    [['refused', code]],
    JSON.stringify(outcomes),
  )
  assert.equal(status, 11)
  await sleep(300)
  assert.deepEqual(snapshotOf(pid), before)
  assert.equal(countOf(root), '')
}

function snapshotOf(pid: number): readonly unknown[] {
  const open = readdirSync(`/proc/${pid}/fd`).map(fd => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`)
  const claims = existsSync('/run/windlass') ? readdirSync('/run/windlass') : []
  return [factsOf(pid), open, claims.filter(name => name.includes(`-${pid}-`))]
}

/** State, and bytes written: a process that goes on as before has the same. */
function factsOf(pid: number): readonly string[] {
  const state = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .slice(0, 1)
  return [state, /wchar: \d+/.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[0] ?? '']
}

/** An engine of its own, and what is tried with it, one after the other. */
function testEngine(open: () => Promise<Bed>, ...tests: readonly EngineTests[]): void {
  let bed: Bed
  before(async () => {
    bed = await open()
  })
  after(async () => {
    await bed?.daemon[Symbol.asyncDispose]()
    await bed?.loop[Symbol.asyncDispose]()
  })
  afterEach(async () => {
    const { sick } = bed.patient
    rmSync(join(sick.shims, 'igzip'), { force: true })
    await sick.free()
  })
  for (const add of tests) add(() => bed.patient)
}

const everyFault: readonly Fault[] = ['spin', 'sleep', 'stop-reading', 'stop-itself', 'ignore-sigterm']
const fewFaults = (inShortRuns: Fault): readonly Fault[] => (isLong ? everyFault : [isLarge ? 'sleep' : inShortRuns])
const unlessLarge = (tests: EngineTests): readonly EngineTests[] => (isLarge ? [] : [tests])

// A large layer takes the memory and the disk of one engine at a time.
describe('a rescue of', { concurrency: !isLarge }, () => {
  describe('a docker pull', { concurrency: 1 }, () =>
    testEngine(() => openDocker(directory), withFaults(fewFaults('spin')), ...unlessLarge(testOddities)),
  )
  if (!isLarge)
    describe('a pull of another docker', { concurrency: 1 }, () => testEngine(() => openDocker(directory), testBreaks))
  describe('a containerd pull', { concurrency: 1 }, () =>
    testEngine(() => openContainerd(directory), withFaults(fewFaults('stop-itself')), ...unlessLarge(testNotedBefore)),
  )
  const newest = newestEngines()
  if (newest === undefined) return
  testNewest(newest)
})

function testNewest(engines: Engines): void {
  const newestFaults = isLarge ? fewFaults('sleep') : everyFault
  describe('a pull of the newest podman', { concurrency: 1 }, () => {
    test('that is refused: what it has downloaded is not all of the layer', row, async () => {
      const { loop, daemon, patient } = await openPodmanBed(directory, engines)
      const { sick } = patient
      try {
        // Of the other image it has a small layer, too, of which all may be here: another refusal, and which comes first is chance.
        await startStuckPull(patient, 'sleep', image.references[1] as string)
        const stuck = sick.children().find(({ pid }) => isStuck(pid, 'sleep'))
        await assertRefused(stuck?.pid ?? 0, 'RESCUE_LAYER_DAMAGED')
      } finally {
        await sick.free()
        await daemon[Symbol.asyncDispose]()
        await loop[Symbol.asyncDispose]()
      }
    })
  })
  describe('a pull of the newest docker', { concurrency: 1 }, () =>
    testEngine(() => openDocker(directory, engines), withFaults(newestFaults)),
  )
  describe('a pull of the newest containerd', { concurrency: 1 }, () =>
    testEngine(
      () => openContainerd(directory, engines),
      withFaults(newestFaults, !isLarge),
      ...unlessLarge(testNotedBefore),
    ),
  )
}
