import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { findEngines, findPrograms, parseGoBool, readDisabled } from './programs.ts'

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-programs-'))
  for (const name of ['a', 'b', 'open', 'none']) await mkdir(join(directory, name))
  await chmod(join(directory, 'open'), 0o777)
  for (const path of ['b/pigz', 'b/gzip', 'b/podman', 'open/zstd']) await plant(path)
  await mkdir(join(directory, 'a/gzip')) // a directory is no program
  await writeFile(join(directory, 'a/pigz'), '', { mode: 0o644 }) // nor is what cannot be executed
  await symlink('../b/pigz', join(directory, 'a/unpigz'))
  await symlink('../open/zstd', join(directory, 'a/zstd'))
  await symlink('/nonexistent', join(directory, 'a/xz'))
  await plant('a/igzip')
  await chmod(join(directory, 'a/igzip'), 0o777)
})
after(() => rm(directory, { recursive: true }))

async function plant(path: string): Promise<void> {
  await writeFile(join(directory, path), '#!/bin/sh\n', { mode: 0o755 })
}

function path(...names: string[]): string {
  return names.map(name => join(directory, name)).join(':')
}

test('the first regular executable file on the PATH is taken, under the name that was asked for', async () => {
  const { programs } = await findPrograms(path('none', 'a', 'b'), ['unpigz', 'pigz', 'gzip', 'xz'])
  assert.deepEqual(
    programs.map(({ name, path, realPath, args }) => [name, path, realPath, args.join(' ')]),
    [
      ['unpigz', join(directory, 'a/unpigz'), join(directory, 'b/pigz'), '-d -c'],
      ['pigz', join(directory, 'b/pigz'), join(directory, 'b/pigz'), '-d -c'],
      ['gzip', join(directory, 'b/gzip'), join(directory, 'b/gzip'), '-d -c'],
    ],
  )
})

test('a program that everybody may replace is passed over with a warning, also behind a link', async () => {
  const { programs, warnings } = await findPrograms(path('open', 'a'), ['zstd', 'igzip'])
  assert.deepEqual(programs, [])
  assert.equal(warnings.length, 3)
  for (const warning of warnings) assert.match(warning, /^Passed over \/.*: everybody may write to it/)
})

test('relative and empty parts of the PATH are passed over', async () => {
  const here = process.cwd()
  process.chdir(directory)
  try {
    const { programs } = await findPrograms(':.:b:../b', ['gzip'])
    assert.deepEqual(programs, [])
    assert.equal((await findPrograms(path('b'), ['gzip'])).programs.length, 1)
  } finally {
    process.chdir(here)
  }
})

test('the engines of the host are known by their daemons', async () => {
  const engines = await findEngines(path('a', 'b'))
  assert.deepEqual([...engines], [['podman', ['pigz', 'zstd']]])
})

test('a switch means what Go takes it for', () => {
  for (const text of ['1', 't', 'T', 'TRUE', 'true', 'True']) assert.equal(parseGoBool(text), true)
  for (const text of ['0', 'f', 'F', 'FALSE', 'false', 'False']) assert.equal(parseGoBool(text), false)
  for (const text of ['yes', 'on', 'tRUE', ' 1', '1\n', '2']) assert.equal(parseGoBool(text), undefined)
})

test('the switches of docker and containerd keep their programs from being used', () => {
  const cases: readonly (readonly [Record<string, string>, string[], number])[] = [
    [{}, [], 0],
    [{ MOBY_DISABLE_PIGZ: 'true' }, ['pigz', 'unpigz'], 0],
    [{ CONTAINERD_DISABLE_PIGZ: 'T' }, ['pigz', 'unpigz'], 0],
    [{ CONTAINERD_DISABLE_IGZIP: '1' }, ['igzip'], 0],
    [{ MOBY_DISABLE_PIGZ: 'false', CONTAINERD_DISABLE_IGZIP: '0' }, [], 0],
    [{ MOBY_DISABLE_PIGZ: '' }, [], 0],
    [{ MOBY_DISABLE_PIGZ: 'yes' }, ['pigz', 'unpigz'], 1],
    [{ MOBY_DISABLE_PIGZ: '0', CONTAINERD_DISABLE_PIGZ: '1' }, ['pigz', 'unpigz'], 0],
  ]
  for (const [env, expected, warningCount] of cases) {
    const { disabled, warnings } = readDisabled(env)
    assert.deepEqual([...disabled].sort(), expected, JSON.stringify(env))
    assert.equal(warnings.length, warningCount)
  }
})
