/** The loss of power: of the store's filesystem only that remains which has come to the disk, in the order in which it was synced. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { openAfterPowerLoss, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type Step, stepThrough } from '../testbed/stepping.ts'
import { assertRecovers, deathLayers, isLong, steadyEnvironment, windlassCommand } from './death.ts'
import { serveImage } from './image.ts'

const MiB = 1 << 20
const syncs = ['fsync', 'fdatasync', 'syncfs']
const calls = [...syncs, 'rename', 'symlink', 'ftruncate', 'unlink']

/** The disk changes with a sync; before the next one is the worst moment for what came after it. */
function isTaken({ number, call }: Step): boolean {
  return isLong || number % 4 === 0 || call.startsWith('rename(')
}

describe('a store whose machine loses its power', () => {
  test('after any of the steps of a pull holds nothing wrong, and the next pull goes on', {
    timeout: 600_000,
  }, async t => {
    await using disk = await openLoopFilesystem({ sizeBytes: 64 * MiB, isLazy: true })
    await using image = await serveImage(deathLayers)
    const root = join(disk.directory, 'store')
    const command = windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', image.reference)
    let losses = 0
    const { status, stderr } = await stepThrough(command, { env: steadyEnvironment, calls }, async step => {
      if (!isTaken(step)) return
      await using found = await openAfterPowerLoss(disk)
      const root = join(found.directory, 'store')
      if (!existsSync(root)) return
      await assertRecovers(root, image, { isPartialRight: false }).catch(error => {
        throw new Error(`after step ${step.number}, ${step.call}: ${error.message}`, { cause: error })
      })
      losses++
    })
    assert.equal(status, 0, stderr)
    t.diagnostic(`${losses} losses of power in a pull`)
    assert.ok(losses > 10)
  })
})
