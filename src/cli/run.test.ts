import assert from 'node:assert/strict'
import { homedir } from 'node:os'
import { describe, test } from 'node:test'
import { WindlassError } from '../errors.ts'
import { run, storeRoot } from './run.ts'

describe('the store is', () => {
  test('where --root says, before WINDLASS_ROOT', () => {
    assert.equal(storeRoot('/a', { WINDLASS_ROOT: '/b' }, 0), '/a')
    assert.equal(storeRoot(undefined, { WINDLASS_ROOT: '/b/' }, 0), '/b')
    assert.equal(storeRoot('a', {}, 0), `${process.cwd()}/a`)
  })

  test("the system's for root, the user's own for others", () => {
    const env = { XDG_DATA_HOME: '/data', HOME: '/home/u' }
    assert.equal(storeRoot(undefined, env, 0), '/var/lib/windlass')
    assert.equal(storeRoot(undefined, env, 1000), '/data/windlass')
    assert.equal(storeRoot(undefined, { HOME: '/home/u', WINDLASS_ROOT: '' }, 1000), '/home/u/.local/share/windlass')
    assert.equal(storeRoot(undefined, {}, 1000), `${homedir()}/.local/share/windlass`)
  })

  test('nowhere if --root is empty', () => {
    assert.throws(
      () => storeRoot('', {}, 0),
      (error: unknown) => error instanceof WindlassError && error.code === 'USAGE',
    )
  })
})

test('what a command line prints goes to the streams that it is given', async () => {
  const written = { stdout: '', stderr: '' }
  const output = (name: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      written[name] += text
      return true
    },
  })
  const host = {
    env: {},
    stdout: output('stdout'),
    stderr: output('stderr'),
    signal: new AbortController().signal,
    uid: 0,
    front: undefined,
  }
  assert.equal(await run(['version', '-q'], host), 0)
  assert.match(written.stdout, /^\d+\.\d+\.\d+\n$/)
  assert.equal(written.stderr, '')
  assert.equal(await run(['version', '--log-level', 'debug', '--nothing'], host), 125)
  assert.match(written.stderr, /^windlass: .*\nhint: .*\ncode: USAGE\n$/)
})
