/**
 * The death of the process between any two things that it does to the disk. A process that is stopped after a system call has left on the disk what one that
 * is killed there leaves: a copy of its store is what the next process would find.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { run } from '../testbed/command.ts'
import { againAfterTracerFailure, type Step, stepThrough } from '../testbed/stepping.ts'
import type { Tree } from '../tree.ts'
import {
  assertRecovers,
  assertRemoved,
  deathLayers,
  isLong,
  pullByCommand,
  readContent,
  servePair,
  steadyEnvironment,
  windlassCommand,
} from './death.ts'
import { serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-steps-'))
after(() => rmSync(directory, { recursive: true, force: true }))

/** Each step of the long form costs a pull. */
const timeoutMs = isLong ? 7_200_000 : 600_000

const commits = ['rename', 'fsync', 'fdatasync', 'syncfs', 'symlink', 'mkdir', 'rmdir', 'unlink', 'ftruncate', 'chmod']
const calls = [...commits, 'pwrite64', 'mkdirat', 'write']

/** Many writes are to the database's files or to pipes within the process: some of each are enough where time is short. */
function isTaken({ number, call }: Step): boolean {
  if (isLong) return true
  return commits.some(name => call.startsWith(`${name}(`)) ? number % 4 === 0 : number % 24 === 0
}

describe('a store whose process dies', () => {
  test('after any of its steps in a pull holds nothing wrong, and the next pull goes on', {
    timeout: timeoutMs,
  }, async t => {
    await using image = await serveImage(deathLayers)
    const expected = await pullWhole(image.reference)
    const deaths = await againAfterTracerFailure(t, async () => {
      const root = join(mkdtempSync(join(directory, 'pull-')), 'store')
      const command = windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', image.reference)
      return await eachStep(command, root, async copy => await assertRecovers(copy, image, { expected }))
    })
    t.diagnostic(`${deaths} deaths in a pull`)
    assert.ok(deaths > 20)
  })

  test('after any of its steps in a removal has the image wholly or not at all', { timeout: timeoutMs }, async t => {
    await using served = await servePair()
    const [gone = ''] = served.references
    const { deaths, whole } = await againAfterTracerFailure(t, async () => {
      const root = join(mkdtempSync(join(directory, 'rmi-')), 'store')
      await pullByCommand(root, served.references)
      let whole = 0
      const deaths = await eachStep(windlassCommand('--root', root, '--quiet', 'rmi', gone), root, async copy => {
        whole += await assertRemoved(copy, served)
      })
      return { deaths, whole }
    })
    t.diagnostic(`${deaths} deaths in a removal, ${whole} of them before it took place`)
    assert.ok(deaths > whole)
  })
})

/** What the layers hold when nothing goes wrong. */
async function pullWhole(reference: string): Promise<Tree[]> {
  const root = join(directory, 'whole')
  await pullByCommand(root, [reference])
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
    // A test that ran out of time may have left its own.
    rmSync(copy, { recursive: true, force: true })
    await run('cp', ['-a', root, copy])
    await check(copy).catch(error => {
      throw new Error(`after step ${step.number}, ${step.call}: ${error.message}`, { cause: error })
    })
    deaths++
  })
  assert.equal(status, 0, stderr)
  return deaths
}
