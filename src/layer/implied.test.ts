import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Facts, readTree } from '../../test/tree.ts'
import { TestDirectory } from '../../test/unpack-tar.ts'
import { adoptImplied } from './implied.ts'

/** Directories made by shell scripts: `diff` is the new layer, the others lie below it, highest first. */
class Layers extends TestDirectory {
  constructor(scripts: Readonly<Record<string, string>>) {
    super()
    for (const [name, script] of Object.entries(scripts))
      execFileSync('sh', ['-ec', `mkdir ${name}; cd ${name}; ${script}`], { cwd: this.path })
  }

  async adopt(lower: readonly string[], ...names: string[]): Promise<Facts | undefined> {
    await adoptImplied(
      join(this.path, 'diff'),
      lower.map(name => join(this.path, name)),
      names,
    )
    return readTree(join(this.path, 'diff')).get(names.at(-1) ?? '.')
  }
}

const facts = 'chmod 2710 a; chown 5:6 a; setfattr -n user.x -v 1 a; touch -d @1000000000.123456789 a'

test('an implied directory takes owner, mode, time and attributes of the nearest layer below that has it', async () => {
  using layers = new Layers({
    diff: 'mkdir a; touch a/f',
    upper: ':',
    middle: `mkdir a; setfattr -n trusted.overlay.opaque -v y a; setfattr -n trusted.overlay.origin -v z a; ${facts}`,
    lower: 'mkdir -m 0111 a',
  })
  const adopted = await layers.adopt(['upper', 'middle', 'lower'], 'a')
  assert.deepEqual(
    [adopted?.mode, adopted?.uid, adopted?.gid, adopted?.mtime, adopted?.xattrs],
    ['2710', 5, 6, '1000000000.123456789', 'user.x=31'],
  )
})

test('times before 1970 are taken to the nanosecond', async () => {
  using layers = new Layers({ diff: 'mkdir a', lower: 'mkdir a; touch -d @-5.000000001 a' })
  assert.equal((await layers.adopt(['lower'], 'a'))?.mtime, '-5.000000001')
})

test('nothing is taken from a layer that a nearer one hides', async () => {
  const hiding = {
    'a whiteout': 'mknod a c 0 0',
    'a file': 'touch a',
    'a symlink': 'ln -s / a',
    'a whiteout of its parent': 'mknod p c 0 0',
    'an opaque parent': 'mkdir p; setfattr -n trusted.overlay.opaque -v y p',
  }
  for (const [what, script] of Object.entries(hiding)) {
    const name = what.includes('parent') ? 'p/a' : 'a'
    using layers = new Layers({
      diff: `mkdir -p ${name}`,
      near: script,
      lower: `mkdir -p -m 0700 p/a a; chmod 0700 p/a`,
    })
    assert.equal((await layers.adopt(['near', 'lower'], name))?.mode, '0755', what)
    assert.equal((await layers.adopt(['lower'], name))?.mode, '0700', `without ${what}`)
  }
})

test('nothing is taken below a directory that the layer itself made opaque', async () => {
  using layers = new Layers({
    diff: 'mkdir -p o/a; setfattr -n trusted.overlay.opaque -v y o',
    lower: 'mkdir -p o/a; chmod 0700 o/a o',
  })
  assert.equal((await layers.adopt(['lower'], 'o', 'o/a'))?.mode, '0755')
  assert.equal(readTree(join(layers.path, 'diff')).get('o')?.mode, '0700', 'opaque itself hides what is in it only')
})

test('a symlink is never followed, neither in the new layer nor below', async () => {
  using layers = new Layers({
    outside: 'mkdir -m 0700 a',
    diff: 'ln -s ../outside s; ln -s ../outside/a t; mkdir -p d/a; chmod 0755 d/a',
    lower: 'mkdir -p s/a t; chmod 0711 s/a t; ln -s ../outside d',
  })
  await layers.adopt(['lower'], 's/a', 't', 'd/a')
  assert.equal(readTree(join(layers.path, 'outside')).get('a')?.mode, '0700')
  assert.equal(readTree(join(layers.path, 'diff')).get('d/a')?.mode, '0755')
})

test('names are bytes', async () => {
  using layers = new Layers({ diff: `mkdir "$(printf 'n\\351')"`, lower: `mkdir -m 0700 "$(printf 'n\\351')"` })
  assert.equal((await layers.adopt(['lower'], 'n\xe9'))?.mode, '0700')
})

test('a name of many hundred parts costs as many looks, not millions', { timeout: 30_000 }, async () => {
  using layers = new Layers({ diff: ':', lower: 'mkdir -m 0700 d' })
  const names = Array.from({ length: 800 }, (_, n) => 'd/'.repeat(n + 1).slice(0, -1))
  const deepest = names.at(-1) ?? ''
  execFileSync('sh', ['-ec', 'mkdir -p "$1"', 'sh', deepest], { cwd: join(layers.path, 'diff') })
  await adoptImplied(
    join(layers.path, 'diff'),
    [join(layers.path, 'lower')],
    [...names, `${deepest}${'/d'.repeat(1400)}`],
  )
  assert.equal(lstatSync(join(layers.path, 'diff/d')).mode & 0o7777, 0o700)
})
