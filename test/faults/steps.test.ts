/**
 * The death of the process between any two things that it does to the disk. A process that is stopped after a system call has left on the disk what one that
 * is killed there leaves: a copy of its store is what the next process would find.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { Store } from '../../src/places/store/store.ts'
import { run } from '../testbed/command.ts'
import { type Step, stepThrough } from '../testbed/stepping.ts'
import type { Tree } from '../tree.ts'
import { assertSound, assertTidy, listNames } from './aftermath.ts'
import {
  assertNothingWrong,
  assertRecovers,
  deathLayers,
  isLong,
  pullHere,
  readContent,
  steadyEnvironment,
  windlassCommand,
} from './death.ts'
import { type MadeLayer, serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-steps-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const commits = ['rename', 'fsync', 'fdatasync', 'syncfs', 'symlink', 'mkdir', 'rmdir', 'unlink', 'ftruncate', 'chmod']
const calls = [...commits, 'pwrite64', 'mkdirat', 'write']

/** Many writes are to the database's files or to pipes within the process: some of each are enough where time is short. */
function isTaken({ number, call }: Step): boolean {
  if (isLong) return true
  return commits.some(name => call.startsWith(`${name}(`)) ? number % 3 === 0 : number % 16 === 0
}

describe('a store whose process dies', () => {
  test('after any of its steps in a pull holds nothing wrong, and the next pull goes on', {
    timeout: 600_000,
  }, async t => {
    await using image = await serveImage(deathLayers)
    const expected = await pullWhole(image.reference)
    const root = join(directory, 'pull')
    const command = windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', image.reference)
    const deaths = await eachStep(command, root, async copy => await assertRecovers(copy, image, { expected }))
    t.diagnostic(`${deaths} deaths in a pull`)
    assert.ok(deaths > 30)
  })

  test('after any of its steps in a removal has the image wholly or not at all', { timeout: 600_000 }, async t => {
    const [base, own, other] = deathLayers as [MadeLayer, MadeLayer, MadeLayer]
    const images = [
      [base, own],
      [base, other],
    ]
    await using served = await serveImage(deathLayers, {}, images)
    const root = join(directory, 'rmi')
    const [gone = '', kept = ''] = served.references
    const [program = '', ...args] = windlassCommand('--root', root, 'pull', '--platform', 'linux/amd64', gone, kept)
    await run(program, args)
    let whole = 0
    const deaths = await eachStep(windlassCommand('--root', root, '--quiet', 'rmi', gone), root, async copy => {
      const names = await cleanUp(copy)
      assert.ok(names.includes(kept))
      whole += names.length - 1
      await assertSound(copy, names.length)
      assertTidy(copy, join(copy, 'ingest'))
      assert.equal(listNames(join(copy, 'overlay2', 'l')).length, 1 + names.length)
      assert.equal(listNames(join(copy, 'blobs', 'sha256')).length, 1 + 3 * names.length)
      await pullHere(copy, gone)
      await assertSound(copy, 2)
    })
    t.diagnostic(`${deaths} deaths in a removal, ${whole} of them before it took place`)
    assert.ok(deaths > whole && whole > 0)
  })
})

/** What the next process does, and a collection. @returns the names of the images that are there */
async function cleanUp(root: string): Promise<string[]> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
  await assertNothingWrong(store)
  await store.collectGarbage()
  return store.listImages().flatMap(({ names }) => names)
}

/** What the layers hold when nothing goes wrong. */
async function pullWhole(reference: string): Promise<Tree[]> {
  const root = join(directory, 'whole')
  const [program = '', ...args] = windlassCommand('--root', root, 'pull', '--platform', 'linux/amd64', reference)
  await run(program, args)
  return await readContent(root)
}

/** @returns how many steps were looked at */
async function eachStep(
  command: readonly string[],
  root: string,
  check: (copy: string) => Promise<void>,
): Promise<number> {
  const copy = join(directory, 'copy')
  let deaths = 0
  const { status, stderr } = await stepThrough(command, { env: steadyEnvironment, calls }, async step => {
    if (!isTaken(step) || !existsSync(join(root, 'version'))) return
    await run('cp', ['-a', root, copy])
    await check(copy).catch(error => {
      throw new Error(`after step ${step.number}, ${step.call}: ${error.message}`, { cause: error })
    })
    rmSync(copy, { recursive: true, force: true })
    deaths++
  })
  assert.equal(status, 0, stderr)
  return deaths
}
