import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { diagnose } from '../../src/doctor/diagnose.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, runCommand } from '../testbed/command.ts'
import { startContainerd, type TestContainerd } from '../testbed/containerd.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { layers, program, pullCodes, SickEngine, visit, whileStopped } from './doctor-bed.ts'
import { holdBack, makeNoise, type ServedImage, serveImage } from './image.ts'

const row = { timeout: 60_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-doctor-'))
const gate = Promise.withResolvers<void>()
let image: ServedImage
let silent: ServedImage

before(async () => {
  image = await serveImage(layers)
  silent = await serveImage([makeNoise('silent', 12 << 20)], { 0: holdBack(9_000_000, gate.promise) })
})
after(async () => {
  gate.resolve()
  await image?.[Symbol.asyncDispose]()
  await silent?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

interface Row {
  readonly fault: Fault
  readonly code: string
  readonly evidence: RegExp
}

const broken: readonly Row[] = [
  { fault: 'spin', code: 'DECOMPRESSOR_SPINS', evidence: /used \d+\.\d s of processor time in its own code/ },
  { fault: 'sleep', code: 'DECOMPRESSOR_ASLEEP', evidence: /threads: \d+ asleep in futex/ },
  { fault: 'stop-reading', code: 'DECOMPRESSOR_ASLEEP', evidence: /has [\d,]+ bytes of input and has room/ },
  { fault: 'stop-itself', code: 'DECOMPRESSOR_STOPPED', evidence: /state T/ },
  { fault: 'close-stdout-and-live', code: 'DECOMPRESSOR_CLOSED_OUTPUT', evidence: /moved nothing for/ },
  { fault: 'dribble', code: 'DECOMPRESSOR_DRIBBLES', evidence: /bytes\/s; wanted at least/ },
]

/** What must be seen and said of any engine. */
function testEngine(engine: () => SickEngine, disk: () => string, hasUntar: boolean, faults: readonly Row[]): void {
  afterEach(() => engine().free())

  for (const { fault, code, evidence } of faults) {
    test(`whose decompressor does this: ${fault}, and names it`, row, async () => {
      await plantBroken(engine().shims, fault)
      engine().startPull(image.reference)
      const { decompressor } = await engine().unpacking(hasUntar)
      await sleep(1500)
      const seen = await visit(engine().pid)
      assert.deepEqual(pullCodes(seen), [code], JSON.stringify(seen.findings))
      const finding = seen.findings.find(finding => finding.code === code)
      assert.match(finding?.evidence.join('\n') ?? '', evidence)
      assert.equal(finding?.facts['decompressorPid'], decompressor)
      assert.equal(seen.status, 11)
      assert.ok(seen.ms < 20_000, `it took ${seen.ms} ms`)
    })
  }

  test('whose daemon is stopped: nobody else is accused', row, async () => {
    engine().startPull(image.reference)
    await engine().unpacking(hasUntar)
    process.kill(engine().pid, 'SIGSTOP')
    const seen = await visit(engine().pid)
    process.kill(engine().pid, 'SIGCONT')
    assert.deepEqual(pullCodes(seen), ['ENGINE_STOPPED'], JSON.stringify(seen.findings))
  })

  test('whose filesystem is frozen: it names that', row, async () => {
    engine().startPull(image.reference)
    const { decompressor } = await engine().unpacking(hasUntar)
    await whileStopped([decompressor], () => run('fsfreeze', ['-f', disk()]))
    try {
      const seen = await visit(engine().pid)
      assert.deepEqual(pullCodes(seen), ['FILESYSTEM_FROZEN'], JSON.stringify(seen.findings))
    } finally {
      await run('fsfreeze', ['-u', disk()])
    }
  })

  test('that waits for an agent which does not answer: it names that, and who it is', row, async () => {
    engine().startPull(image.reference)
    const { decompressor } = await engine().unpacking(hasUntar)
    const script = join(import.meta.dirname, '../testbed/silent-agent.ts')
    process.kill(decompressor, 'SIGSTOP')
    const agent = spawn(process.execPath, [script, disk()], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(agent.stdout, 'data')
    process.kill(decompressor, 'SIGCONT')
    try {
      const seen = await visit(engine().pid)
      assert.deepEqual(pullCodes(seen), ['FANOTIFY_WAIT'], JSON.stringify(seen.findings))
      const listeners = seen.findings.filter(({ code }) => code === 'FANOTIFY_LISTENER')
      assert.ok(listeners.some(({ facts }) => facts['pid'] === agent.pid))
    } finally {
      agent.kill('SIGKILL')
    }
  })

  test('whose registry has gone silent: it names the download, and no process', row, async () => {
    engine().startPull(silent.reference)
    await sleep(17_000)
    const seen = await visit(engine().pid)
    assert.deepEqual(pullCodes(seen), ['DOWNLOAD_SILENT'], JSON.stringify(seen.findings))
  })

  test('when there is none: it says so, and finds nothing wrong with pulls', row, async () => {
    const seen = await visit(engine().pid)
    assert.deepEqual(pullCodes(seen), ['NO_PULL'], JSON.stringify(seen.findings))
  })
}

async function openSickDocker(): Promise<{ loop: LoopFilesystem; docker: TestDocker; sick: SickEngine }> {
  const loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
  const shims = mkdtempSync(join(directory, 'shims-'))
  const docker = await startDocker(join(loop.directory, 'docker'), shims)
  const client = ['docker', '-H', `unix://${docker.socket}`]
  return { loop, docker, sick: new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f']) }
}

describe('the doctor looks at', { concurrency: true }, () => {
  describe('a docker pull', { concurrency: 1 }, () => {
    let loop: LoopFilesystem
    let docker: TestDocker
    let sick: SickEngine
    before(async () => {
      ;({ loop, docker, sick } = await openSickDocker())
    })
    after(async () => {
      await docker?.[Symbol.asyncDispose]()
      await loop?.[Symbol.asyncDispose]()
    })

    testEngine(
      () => sick,
      () => loop.directory,
      true,
      broken,
    )
  })

  describe('a pull of another docker', { concurrency: 1 }, () => {
    let loop: LoopFilesystem
    let docker: TestDocker
    let sick: SickEngine
    before(async () => {
      ;({ loop, docker, sick } = await openSickDocker())
    })
    after(async () => {
      await docker?.[Symbol.asyncDispose]()
      await loop?.[Symbol.asyncDispose]()
    })

    afterEach(() => sick.free())

    test('whose healthy decompressor is stopped by a signal: the pull goes on when it is let', row, async () => {
      const client = sick.startPull(image.reference)
      const { decompressor } = await sick.unpacking(true)
      process.kill(decompressor, 'SIGSTOP')
      const seen = await visit(sick.pid)
      process.kill(decompressor, 'SIGCONT')
      assert.deepEqual(pullCodes(seen), ['DECOMPRESSOR_STOPPED'], JSON.stringify(seen.findings))
      assert.deepEqual(await once(client, 'exit'), [0, null])
    })

    test('whose untar is stopped: the decompressor that waits for it is not accused', row, async () => {
      sick.startPull(image.reference)
      const { untar } = await sick.unpacking(true)
      process.kill(untar, 'SIGSTOP')
      const seen = await visit(sick.pid)
      process.kill(untar, 'SIGCONT')
      assert.deepEqual(pullCodes(seen), ['UNTAR_STOPPED'], JSON.stringify(seen.findings))
    })

    test(
      'whose client was cancelled: a second pull that waits for the first is told beside the cause',
      row,
      async () => {
        const client = sick.startPull(image.reference)
        const { decompressor } = await sick.unpacking(true)
        process.kill(decompressor, 'SIGSTOP')
        client.kill('SIGINT')
        await once(client, 'exit')
        sick.startPull(image.reference)
        await sleep(1500)
        const seen = await visit(sick.pid)
        assert.deepEqual(pullCodes(seen), ['DECOMPRESSOR_STOPPED', 'TRANSFER_POISONED'], JSON.stringify(seen.findings))
      },
    )

    test('that is traced: it explains what stands still, and gives the status of the command', row, async () => {
      const traced = runCommand(program, [
        'trace',
        '--',
        'docker',
        '-H',
        `unix://${docker.socket}`,
        'pull',
        image.reference,
      ])
      sick.startPull(image.reference) // for the cleaning up
      const { decompressor } = await sick.unpacking(true)
      process.kill(decompressor, 'SIGSTOP')
      await sleep(16_000)
      process.kill(decompressor, 'SIGKILL')
      const { status, stderr } = await traced
      assert.equal(status, 1)
      assert.match(stderr, /\[DECOMPRESSOR_STOPPED\]/)
      assert.match(stderr, /^unpacking \(\d+ layers seen\) +\d+\.\d s/m)
    })

    test('whose processes it may not look into: it says so, and accuses nobody of standing still', row, async () => {
      sick.startPull(image.reference)
      const { decompressor } = await sick.unpacking(true)
      process.kill(decompressor, 'SIGSTOP')
      const seen = await visit(sick.pid, ['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace'])
      assert.deepEqual(pullCodes(seen), ['PULLS_HIDDEN'], JSON.stringify(seen.findings))
      assert.equal(seen.status, 10)
    })

    test('that is slow at every end: nobody is ever accused', row, async () => {
      const client = sick.startPull(image.reference)
      const found: string[] = []
      const signal = new AbortController().signal
      const visits = async () => {
        while (client.exitCode === null) {
          const { findings } = await diagnose(new LiveHost(), { signal, pid: sick.pid })
          found.push(...findings.filter(({ severity }) => severity === 'problem').map(({ code }) => code))
          found.push('visit')
        }
      }
      // Each process of the pull runs a fifth of the time only.
      const slow = async () => {
        while (client.exitCode === null) {
          const pids = sick.children().map(({ pid }) => pid)
          signalAll(pids, 'SIGSTOP')
          await sleep(400)
          signalAll(pids, 'SIGCONT')
          await sleep(100)
        }
      }
      await Promise.all([visits(), visits(), visits(), visits(), slow()])
      assert.deepEqual([...new Set(found)], ['visit'])
      assert.ok(found.length >= 4)
    })
  })

  describe('a pull of containerd', { concurrency: 1 }, () => {
    let loop: LoopFilesystem
    let containerd: TestContainerd
    let sick: SickEngine
    before(async () => {
      loop = await openLoopFilesystem({ sizeBytes: 2 ** 30 })
      const shims = mkdtempSync(join(directory, 'shims-'))
      containerd = await startContainerd(join(loop.directory, 'containerd'), shims)
      sick = new SickEngine(
        containerd.pid,
        shims,
        ['ctr', '-a', containerd.socket, 'images', 'pull', '--plain-http'],
        ['ctr', '-a', containerd.socket, 'images', 'rm', '--sync'],
      )
    })
    after(async () => {
      await containerd?.[Symbol.asyncDispose]()
      await loop?.[Symbol.asyncDispose]()
    })

    testEngine(
      () => sick,
      () => loop.directory,
      false,
      broken.filter(({ fault }) => fault !== 'dribble' && fault !== 'stop-reading'),
    )
  })
})

function signalAll(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {} // it has ended
  }
}
