/** SIGKILL at random moments, and a disk that is full at random moments: as often as it takes, a pull comes to its end. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../../src/places/store/store.ts'
import { type CommandResult, collectResult, runCommand } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { assertTidy } from './aftermath.ts'
import {
  assertNothingWrong,
  assertRecovers,
  deathLayers,
  isLong,
  openRandom,
  seed,
  steadyEnvironment,
  windlassCommand,
} from './death.ts'
import { makeManyFiles, makeNoise, type ServedImage, serveImage, trickle } from './image.ts'

const MiB = 1 << 20
const directory = mkdtempSync(join(tmpdir(), 'windlass-kill-'))
after(() => rmSync(directory, { recursive: true, force: true }))

function pullCommand(root: string, reference: string): string[] {
  return windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', reference)
}

/** A pull that is killed after that time, unless it has ended. */
async function pullFor(ms: number, root: string, image: ServedImage): Promise<CommandResult> {
  const [program = '', ...args] = pullCommand(root, image.reference)
  const child = spawn(program, args, { env: steadyEnvironment, stdio: ['ignore', 'pipe', 'pipe'] })
  const result = collectResult(child)
  await Promise.race([result, sleep(ms)])
  child.kill('SIGKILL')
  return await result
}

async function assertLooksRight(root: string): Promise<void> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
  await assertNothingWrong(store)
}

function fillBlocks(path: string, bytesLeft: number): void {
  const { bfree, bsize } = statfsSync(dirname(path))
  writeFileSync(path, Buffer.alloc(bfree * bsize - bytesLeft, 'x'))
}

function fillInodes(path: string, left: number): void {
  mkdirSync(path)
  const { ffree } = statfsSync(path)
  for (let at = left; at < ffree; at++) writeFileSync(join(path, String(at)), '')
}

describe('a pull', { concurrency: false }, () => {
  test('that is killed again and again at random comes to its end', { timeout: 600_000 }, async t => {
    const random = openRandom('kill')
    let kills = 0
    for (let round = 0; round < (isLong ? 20 : 1); round++) {
      const layers = [...deathLayers, makeManyFiles('many', 3000)]
      await using image = await serveImage(layers, { 0: trickle(64 * 1024) })
      const root = join(directory, `kill-${round}`)
      for (let at = 0; at < 8; at++) {
        const { signal, status, stderr } = await pullFor(200 + random() * 1200, root, image)
        assert.ok(signal === 'SIGKILL' || status === 0, stderr)
        if (status === 0) break
        kills++
        await assertLooksRight(root)
      }
      await assertRecovers(root, image)
      const sent = image.starts[0] ?? []
      assert.deepEqual(
        sent,
        sent.toSorted((a, b) => a - b),
        'each pull went on where the last one had come to',
      )
    }
    t.diagnostic(`${kills} kills (seed ${seed})`)
    assert.ok(kills > 0)
  })

  test('onto a disk that is full at any moment says so, and goes on when there is room', {
    timeout: 600_000,
  }, async t => {
    const random = openRandom('full')
    let full = 0
    for (let round = 0; round < (isLong ? 30 : 4); round++) {
      await using disk = await openLoopFilesystem({ sizeBytes: 48 * MiB })
      await using image = await serveImage([
        makeNoise('noise', 4 * MiB),
        makeManyFiles('many', 300),
        ...deathLayers.slice(1),
      ])
      const root = join(disk.directory, 'store')
      const filler = join(disk.directory, 'filler')
      // too little to begin with, or too little for what is unpacked: in all it takes some 11 MiB and 380 inodes
      if (round % 2 === 0) fillBlocks(filler, Math.floor((2 + random() * 8) * MiB))
      else fillInodes(filler, Math.floor(1 + random() * 330))
      const [program = '', ...args] = pullCommand(root, image.reference)
      const { status, stderr } = await runCommand(program, args, { env: steadyEnvironment })
      assert.ok(status === 0 || status === 7, stderr)
      if (status === 7) {
        full++
        assert.match(stderr, /^(warning: .*\n)*windlass: Cannot .*(space|ENOSPC|full|bytes are free)/i)
      }
      rmSync(filler, { recursive: true })
      if (status === 7) assertTidy(root, join(root, 'ingest'))
      await assertRecovers(root, image)
    }
    t.diagnostic(`${full} full disks (seed ${seed})`)
  })
})
