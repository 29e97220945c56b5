/** A decompressor outlives neither its pull nor windlass itself, however that ends: a process that spins for ever is no less a fault than a hang. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { run, waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import {
  assertSound,
  bytesWritten,
  childrenOf,
  hasLeft,
  hasThreadInD,
  killGroups,
  listGroupMembers,
  programOf,
} from './aftermath.ts'
import { makeNoise, serveImage } from './image.ts'
import { type PullOptions, runPull, startPull } from './pull-process.ts'

const row = { timeout: 180_000 }
/** From the end of windlass to the end of all that it started. */
const leaveMs = 60_000

const directory = mkdtempSync(join(tmpdir(), 'windlass-orphans-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let rows = 0

interface Planted extends Disposable {
  readonly place: PullOptions
  /** The decompressor itself, and the daemon that it leaves in a session of its own, held by nobody. */
  readonly started: () => number[]
}

async function plant(fault: Fault): Promise<Planted> {
  const base = join(directory, String(rows++))
  const place = { root: join(base, 'store'), temporary: join(base, 'tmp'), programs: join(base, 'bin') }
  for (const path of [place.temporary, place.programs]) mkdirSync(path, { recursive: true })
  const broken = await plantBroken(place.programs, fault, 'broken')
  const list = join(place.programs, 'started')
  writeFileSync(list, '')
  const daemon = `(setsid sh -c 'echo $$ >>"${list}"; exec sleep 1000' &)`
  const script = `#!/bin/sh\necho $$ >>'${list}'\n${daemon}\nexec '${broken}' "$@"\n`
  writeFileSync(join(place.programs, 'unpigz'), script, { mode: 0o755 })
  const started = () => readFileSync(list, 'utf8').split('\n').filter(Boolean).map(Number)
  const dispose = () => started().forEach(killLeft)
  return { place: { ...place, decompressor: 'unpigz' }, started, [Symbol.dispose]: dispose }
}

function killLeft(pid: number): void {
  if (!hasLeft(pid)) process.kill(pid, 'SIGKILL')
}

const layers = [makeNoise('file', 3_000_000)]

describe('kill -9 leaves nothing behind, of', { concurrency: true }, () => {
  const whom = [
    { name: 'the program', fault: 'spin', kill: (_front: number, program: number) => [program] },
    { name: 'its front', fault: 'ignore-sigterm', kill: (front: number) => [front] },
    { name: 'both, at a stopped decompressor', fault: 'stop-itself', kill: (...both: number[]) => both },
  ] as const
  for (const { name, fault, kill } of whom) {
    test(name, row, async () => {
      using planted = await plant(fault)
      const { place, started } = planted
      await using image = await serveImage(layers)
      const pull = startPull(image.reference, place)
      await waitUntil('it is stuck', 60_000, () => started().length === 2 && started().some(hasWritten))
      const front = pull.child.pid ?? 0
      const program = programOf(front) ?? 0
      const all = new Set([program, ...childrenOf(program), ...started()])
      assert.ok(all.size >= 3, 'the program, its decompressor, and the daemon of that')
      for (const pid of kill(front, program)) process.kill(pid, 'SIGKILL')
      await waitUntil('all have left', leaveMs, () => [...all].every(hasLeft))
      await pull.ended
      assert.equal((await runPull(image.reference, { ...place, decompressor: 'builtin' })).status, 0)
      await assertSound(place.root, 1)
    })
  }
})

function hasWritten(pid: number): boolean {
  return bytesWritten(pid) >= 300_000
}

test('a decompressor that is given up leaves no daemon behind', row, async () => {
  using planted = await plant('sleep')
  const { place, started } = planted
  await using image = await serveImage(layers)
  const patience = { decompressorMs: 1_000 }
  const { status, text } = await runPull(image.reference, { ...place, patience })
  assert.equal(status, 0, text)
  assert.equal(started().length, 2)
  await waitUntil('all have left', leaveMs, () => started().every(hasLeft))
})

test(
  'a program ends with windlass, although the kernel holds the main thread and all that it has open',
  row,
  async () => {
    await using loop = await openLoopFilesystem({ sizeBytes: 32 << 20 })
    await run('fsfreeze', ['-f', loop.directory])
    await using stack = new AsyncDisposableStack()
    stack.defer(async () => void (await run('fsfreeze', ['-u', loop.directory])))
    const script = join(import.meta.dirname, 'blocked-child.ts')
    const blocked = spawn(process.execPath, [script, join(loop.directory, 'new')], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [text] = (await once(blocked.stdout, 'data')) as [Buffer]
    const group = Number(text)
    stack.defer(() => killGroups([group]))
    await waitUntil('its main thread is stuck', 60_000, () => hasThreadInD(blocked.pid ?? 0))
    assert.equal(listGroupMembers([group]).length > 0, true)
    await waitUntil('the program has left', 60_000, () => listGroupMembers([group]).length === 0)
    assert.ok(hasThreadInD(blocked.pid ?? 0))
  },
)
