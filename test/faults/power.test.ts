/** The loss of power: of the store's filesystem only that remains which has come to the disk, in the order in which it was synced. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type LoopFilesystem, openAfterPowerLoss, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { againAfterTracerFailure, type Step, stepThrough } from '../testbed/stepping.ts'
import {
  assertRecovers,
  assertRemoved,
  deathLayers,
  isLong,
  pullByCommand,
  servePair,
  steadyEnvironment,
  windlassCommand,
} from './death.ts'
import { serveImage } from './image.ts'

const MiB = 1 << 20
const syncs = ['fsync', 'fdatasync', 'syncfs']
const calls = [...syncs, 'rename', 'symlink', 'ftruncate', 'unlink']

/** The disk changes with a sync; before the next one is the worst moment for what came after it. */
function isTaken({ number, call }: Step): boolean {
  return isLong || number % 4 === 0 || call.startsWith('rename(')
}

/** @returns how many losses were looked at */
async function eachLoss(
  disk: LoopFilesystem,
  command: readonly string[],
  check: (root: string) => Promise<void>,
): Promise<number> {
  let losses = 0
  const { status, stderr } = await stepThrough(command, { env: steadyEnvironment, calls }, async step => {
    if (!isTaken(step)) return
    await using found = await openAfterPowerLoss(disk)
    const root = join(found.directory, 'store')
    if (!existsSync(root)) return
    await check(root).catch(error => {
      throw new Error(`after step ${step.number}, ${step.call}: ${error.message}`, { cause: error })
    })
    losses++
  })
  assert.equal(status, 0, stderr)
  return losses
}

describe('a store whose machine loses its power', () => {
  test('after any of the steps of a pull holds nothing wrong, and the next pull goes on', {
    timeout: 600_000,
  }, async t => {
    await using image = await serveImage(deathLayers)
    const losses = await againAfterTracerFailure(t, async () => {
      await using disk = await openLoopFilesystem({ sizeBytes: 64 * MiB, isLazy: true })
      const root = join(disk.directory, 'store')
      const command = windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', image.reference)
      return await eachLoss(disk, command, root => assertRecovers(root, image, { isPartialRight: false }))
    })
    t.diagnostic(`${losses} losses of power in a pull`)
    assert.ok(losses > 10)
  })

  test('after any of the steps of a removal has the image wholly or not at all', { timeout: 600_000 }, async t => {
    await using served = await servePair()
    const { losses, whole } = await againAfterTracerFailure(t, async () => {
      await using disk = await openLoopFilesystem({ sizeBytes: 64 * MiB, isLazy: true })
      const root = join(disk.directory, 'store')
      await pullByCommand(root, served.references)
      let whole = 0
      const command = windlassCommand('--root', root, '--quiet', 'rmi', served.reference)
      const losses = await eachLoss(disk, command, async root => {
        whole += await assertRemoved(root, served)
      })
      return { losses, whole }
    })
    t.diagnostic(`${losses} losses of power in a removal, ${whole} of them before it took place`)
    assert.ok(losses > whole)
  })
})
