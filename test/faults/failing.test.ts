/** A filesystem that answers with errors, late, or not at all, at any moment of a pull: one in user space, over /dev/fuse. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { runCommand } from '../testbed/command.ts'
import {
  changes,
  type FailingFilesystem,
  type FuseOrders,
  openFailingFilesystem,
} from '../testbed/failing-filesystem.ts'
import type { Tree } from '../tree.ts'
import {
  assertRecovers,
  deathLayers,
  isLong,
  openRandom,
  pullByCommand,
  readContent,
  seed,
  steadyEnvironment,
  windlassCommand,
} from './death.ts'
import { type ServedImage, serveImage } from './image.ts'
import { startPull } from './pull-process.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-failing-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const looks = ['LOOKUP', 'GETATTR', 'OPEN', 'READ', 'OPENDIR', 'READDIR', 'GETXATTR', 'STATFS']
/** What makes an inode. */
const births = ['CREATE', 'MKDIR', 'MKNOD', 'SYMLINK']

interface Failure {
  readonly name: string
  readonly orders: FuseOrders
  /** How many moments are tried, of all that there are; WINDLASS_LONG=1 tries thirty times as many. */
  readonly samples: number
}

const once = 1
const failures: readonly Failure[] = [
  { name: 'EIO to one change', orders: { requests: changes, error: 'EIO', count: once }, samples: 2 },
  { name: 'EIO to every change from some moment on', orders: { requests: changes, error: 'EIO' }, samples: 1 },
  { name: 'EIO to one look', orders: { requests: looks, error: 'EIO', count: once }, samples: 1 },
  { name: 'ENOSPC from some moment on', orders: { requests: changes, error: 'ENOSPC' }, samples: 1 },
  { name: 'ENOSPC for inodes alone', orders: { requests: births, error: 'ENOSPC' }, samples: 2 },
  { name: 'EDQUOT from some moment on', orders: { requests: changes, error: 'EDQUOT' }, samples: 1 },
  { name: 'EROFS from some moment on', orders: { requests: changes, error: 'EROFS' }, samples: 1 },
]

function pullCommand(root: string, reference: string): string[] {
  return windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', reference)
}

// Each is a pull and a filesystem of its own: all of the long form at once would wait for a processor.
describe('a store on a filesystem', { concurrency: 5 }, () => {
  let image: ServedImage
  before(async () => {
    image = await serveImage(deathLayers)
  })
  after(() => image[Symbol.asyncDispose]())

  describe('that answers with', { concurrency: false }, () => {
    let disk: FailingFilesystem
    let expected: Tree[]
    let stores = 0
    before(async () => {
      disk = await openFailingFilesystem()
      await pullByCommand(join(disk.directory, 'whole'), [image.reference])
      expected = await readContent(join(disk.directory, 'whole'))
    })
    after(() => disk[Symbol.asyncDispose]())

    /** How many requests of these a pull makes in which nothing fails. */
    async function countMoments(requests: readonly string[] = []): Promise<number> {
      await disk.order({ requests, from: 1e9, error: 'EIO' })
      await pullByCommand(join(disk.directory, `store-${stores++}`), [image.reference])
      return await disk.order({})
    }

    for (const { name, orders, samples } of failures)
      test(`${name} says so or does without, and the next pull goes on`, { timeout: 1_800_000 }, async t => {
        const random = openRandom(name)
        const moments = await countMoments(orders.requests)
        let [met, failed] = [0, 0]
        for (let sample = 0; sample < samples * (isLong ? 30 : 1); sample++) {
          const root = join(disk.directory, `store-${stores++}`)
          const from = 1 + Math.floor(random() * moments)
          await disk.order({ ...orders, from })
          const [program = '', ...args] = pullCommand(root, image.reference)
          const { status, stderr } = await runCommand(program, args, { env: steadyEnvironment })
          if (disk.hasMet()) met++
          // nobody syncs: what was lost after it was taken is told to the next pull
          await disk.order({})
          if (status !== 0) {
            failed++
            assert.match(stderr, /^(warning: .*\n)*windlass: Cannot /)
          }
          await assertRecovers(root, image, { expected }).catch(cause => {
            throw new Error(`request ${from} of ${moments}: ${cause.message}; ${stderr}`, { cause })
          })
          rmSync(root, { recursive: true, force: true })
        }
        t.diagnostic(`${met} pulls met it, ${failed} of them failed; ${moments} moments (seed ${seed})`)
      })

    test('the truth, but late, is waited for', { timeout: 120_000 }, async () => {
      const root = join(disk.directory, `store-${stores++}`)
      await disk.order({ requests: [...changes, 'LOOKUP'], slowMs: 4 })
      await pullByCommand(root, [image.reference])
      await disk.order({})
      await assertRecovers(root, image, { expected })
    })
  })

  /** Each the first of its kind, so that all stages have their turn. */
  const hangs: readonly (readonly [name: string, orders: FuseOrders])[] = [
    ['writes a blob down', { requests: ['WRITE'], from: 150 }],
    ['makes the files of a layer', { requests: ['MKNOD', 'SETXATTR', 'SETATTR'], from: 20 }],
    ['makes the directory of its session', { requests: ['MKDIR'], from: 12 }],
    ['brings a name down', { requests: ['FSYNCDIR'], from: 3 }],
    ...(isLong
      ? Array.from(
          { length: 20 },
          (_, at) => [`comes to change ${10 * at + 5}`, { requests: changes, from: 10 * at + 5 }] as const,
        )
      : []),
  ]
  for (const [name, orders] of hangs)
    test(`that answers nothing any more while the pull ${name} is named, left, and gone on with when it answers`, {
      timeout: 240_000,
    }, async () => {
      await using image = await serveImage(deathLayers)
      await using disk = await openFailingFilesystem()
      await disk.order({ ...orders, hang: true })
      const temporary = mkdtempSync(join(directory, 'tmp-'))

      const root = join(disk.directory, 'store')
      const pull = startPull(image.reference, { root, temporary, stallTimeout: 2, boundMs: 100_000 })
      const { status, text } = await pull.ended
      assert.ok(disk.hasMet(), text)
      assert.equal(status, 5, text)
      await disk.order({})
      await assertRecovers(root, image)
    })
})
