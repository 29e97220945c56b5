/**
 * Into engines whose decompressors are broken in every way, after a pull of the engine's own has met each of them. `WINDLASS_LONG=1` takes every fault instead
 * of a few, and `WINDLASS_PEERS_ROOT=DIR` the engines of another Debian besides those of the host.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, faults, plantBroken } from '../broken-decompressors/plant.ts'
import { isLong } from '../faults/death.ts'
import { spawnOptions, waitUntil } from '../testbed/command.ts'
import { containerdKind, dockerKind, type EngineKind, podmanKind, type TestEngine } from '../testbed/engine-kinds.ts'
import { newestEngines } from '../testbed/newest.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { windlassFor } from '../testbed/windlass.ts'

/** One that hangs, one that lies. */
const few: readonly Fault[] = ['stop-itself', 'flip']
/** With these an engine's own pull hangs for ever, with the others it ends within so long; a child that holds the pipe may do either. */
const hanging: ReadonlySet<Fault> = new Set<Fault>([
  'spin',
  'sleep',
  'stop-reading',
  'close-stdout-and-live',
  'flip-and-sleep',
  'ignore-sigterm',
  'dribble',
  'stop-itself',
])
const hangMs = { yes: 1500, perhaps: 30_000 }
const newest = newestEngines()
const hostKinds = [dockerKind('docker'), containerdKind('containerd'), podmanKind('podman')]
const newestKinds =
  newest === undefined
    ? []
    : [
        dockerKind('newest docker', newest),
        dockerKind('newest docker with the containerd store', newest, 'containerd'),
        containerdKind('newest containerd', newest),
        podmanKind('newest podman', newest, true),
      ]

let bed: Testbed
before(async () => {
  bed = await openTestbed()
})
after(async () => {
  await bed?.[Symbol.asyncDispose]()
})

// Each has directories of its own.
describe('into', { concurrency: 3 }, () => {
  for (const kind of [...hostKinds, ...newestKinds]) describe(kind.name, { concurrency: 1 }, () => testKind(kind))
})

function testKind(kind: EngineKind): void {
  const directoryName = kind.name.replaceAll(' ', '-')
  const opened = new AsyncDisposableStack()
  let broken: TestEngine
  let wanted: unknown
  let directory: string
  let log: string

  before(async () => {
    directory = join(await bed.makeDirectory(directoryName), 'programs')
    await mkdir(directory)
    log = join(directory, 'started')
    await using healthy = await kind.start(await bed.makeDirectory(`${directoryName}/healthy`))
    const status = await ended(pullByItself(healthy))
    assert.equal(status, 0, 'the pull of a healthy engine')
    wanted = await healthy.describe(bed.refer('debian'))
    broken = opened.use(await kind.start(await bed.makeDirectory(`${directoryName}/broken`), directory))
  })
  after(async () => {
    await opened.disposeAsync()
  })

  const started = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean).map(Number)
  const pullByItself = (engine: TestEngine): ChildProcess => {
    const [program = '', ...args] = engine.pullCommand(bed.refer('debian'))
    return spawn(program, args, { ...spawnOptions({}), stdio: 'ignore' })
  }

  // One that starts none of them has nothing to meet.
  const short = kind.startsDecompressor ? few : few.slice(0, 1)
  for (const fault of isLong ? faults : short) {
    test(`the image comes as ever: ${fault}`, async context => {
      await writeFile(log, '')
      for (const name of ['unpigz', 'pigz', 'igzip', 'gzip', 'zstd']) await plantBroken(directory, fault, name, log)
      const own = pullByItself(broken)
      try {
        // What its own pull comes to is the fault's doing; one that starts no decompressor just ends.
        await waitUntil('its own pull has met it', 60_000, async () => hasEnded(own) || (await started()).length > 0)
        await Promise.race([ended(own), sleep(hanging.has(fault) ? hangMs.yes : hangMs.perhaps)])
        if (kind.startsDecompressor) assert.notDeepEqual(await started(), [], 'its own pull was to meet it')
        context.diagnostic(`its own pull ${hasEnded(own) ? `ended with ${own.exitCode}` : 'hangs'}`)
        if (own.exitCode === 0) await broken.remove(bed.refer('debian'))
        const before = (await started()).length
        await assertDelivered(broken, wanted, `${directoryName}-${fault}`)
        assert.equal((await started()).length, before, 'decompressors that were started meanwhile')
      } finally {
        own.kill()
        for (const pid of await started()) killIfThere(pid)
        await ended(own)
        await broken.remove(bed.refer('debian'))
      }
    })
  }
}

async function assertDelivered(engine: TestEngine, wanted: unknown, store: string): Promise<void> {
  const reference = bed.refer('debian')
  const windlass = windlassFor(join(bed.root, '..', 'stores', store), engine.env)
  const { status, stderr } = await windlass.try('pull', '--into', engine.into, reference)
  assert.equal(status, 0, stderr)
  assert.deepEqual(await engine.describe(reference), wanted)
  assert.equal(await engine.runIn(reference), 'alive')
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (!hasEnded(child)) await new Promise(resolve => child.once('exit', resolve))
  return child.exitCode
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {} // it has ended
}
