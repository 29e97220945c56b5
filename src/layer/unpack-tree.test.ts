import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildOddTars } from '../../test/testbed/odd-image.ts'
import { assertSameTree, readTree } from '../../test/tree.ts'
import { TestDirectory, unpackTar } from '../../test/unpack-tar.ts'
import type { UnpackMode } from './apply.ts'

/** Both unpack the same tars, one over the other; then the trees are compared in every fact. */
async function compare(base: string, tars: readonly string[], mode: UnpackMode, implied: string[] = []): Promise<void> {
  for (const name of ['ours', 'gnu']) mkdirSync(join(base, name))
  for (const tar of tars) {
    await unpackTar(join(base, 'ours'), readFileSync(tar), { mode })
    execFileSync('tar', ['--numeric-owner', '--xattrs', '--xattrs-include=*', '-P', '-xpf', tar], {
      cwd: join(base, 'gnu'),
      stdio: 'ignore',
    })
  }
  const ignore = (path: string, fact: string): boolean =>
    // GNU tar fills the zeros of a plain file; what no entry describes was made just now.
    fact === 'sparse' || (fact === 'mtime' && implied.includes(path))
  assertSameTree(readTree(join(base, 'ours')), readTree(join(base, 'gnu')), { ignore })
}

test("this host's own files come out as GNU tar unpacks them", async () => {
  using directory = new TestDirectory()
  const tar = join(directory.path, 'host.tar')
  const packed = ['usr/share/doc', 'usr/share/perl', 'etc'].filter(name => existsSync(`/${name}`))
  execFileSync('tar', ['--format=posix', '--xattrs', '--numeric-owner', '-C', '/', '-cf', tar, ...packed])
  await compare(directory.path, [tar], 'overlay', ['.', 'usr', 'usr/share'])
  assert.ok(readTree(join(directory.path, 'ours')).size > 100)
})

test('odd entries of every kind, and sparse files of every format, come out as GNU tar unpacks them', async () => {
  using directory = new TestDirectory()
  const { odd, sparse } = await buildOddTars(directory.path)
  for (const [n, tars] of [odd.slice(0, 1), sparse].entries()) {
    const base = join(directory.path, `${n}`)
    mkdirSync(base)
    await compare(base, tars, 'flat')
  }
})
