import assert from 'node:assert/strict'
import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { RawEntry } from '../tar-builder.ts'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/**
 * What the hostile suites of other unpackers try (containerd's breakouts, go-archive's invalid names, links and parents, umoci's scoping and opaque
 * directories), each as an archive of our own. The root is chrooted into, so that what they refuse as a breakout is resolved inside the root here.
 */
interface Attempt {
  readonly layers: readonly (readonly RawEntry[])[]
  /** How it is refused. */
  readonly refused?: RegExp
  /** Pairs of names, by which the same file is reached. */
  readonly same?: readonly (readonly [string, string])[]
  readonly content?: Readonly<Record<string, string>>
  readonly symlinks?: readonly string[]
  readonly absent?: readonly string[]
}

const up = '../../../../../..'
const passwd = [dir('etc', { mode: 0o770 }), file('etc/passwd', 'inside')]
const joined = [['localpasswd', 'etc/passwd']] as const

/** One layer into an empty root. */
const single: Readonly<Record<string, Attempt>> = {
  'a file through an absolute symlink': {
    layers: [[dir('etc'), symlink('local', '/etc'), file('/local/kept', 'right')]],
    content: { 'etc/kept': 'right' },
  },
  'a file through a symlink that goes up and comes down': {
    layers: [[dir('etc'), dir('d'), symlink('local', '/d/../etc'), file('/local/kept', 'right')]],
    content: { 'etc/kept': 'right' },
  },
  'a file through two symlinks, the second absolute': {
    layers: [
      [dir('etc'), dir('d'), symlink('/d/etc', '/etc'), symlink('local', '/d/etc'), file('local/kept', 'right')],
    ],
    content: { 'etc/kept': 'right' },
  },
  'a file through two symlinks, the second relative': {
    layers: [
      [dir('etc'), dir('d'), symlink('/d/etc', '/etc'), symlink('local', './d/etc'), file('local/kept', 'right')],
    ],
    content: { 'etc/kept': 'right' },
  },
  'a file that is emptied through a symlink': {
    layers: [[dir('etc'), file('etc/emptied', 'full'), symlink('local', '/etc'), file('/local/emptied', '')]],
    content: { 'etc/emptied': '' },
  },
  'a hard link whose target goes through a symlink that climbs': {
    layers: [[...passwd, dir('b'), symlink('b/d', '../../etc'), link('b/mine', '/b/d/passwd')]],
    same: [['b/mine', 'etc/passwd']],
  },
  'a hard link whose target goes down, up and out': {
    layers: [[...passwd, dir('b'), dir('x'), symlink('b/d', '../x/../../etc'), link('b/mine', '/b/d/passwd')]],
    same: [['b/mine', 'etc/passwd']],
  },
  'a hard link through an absolute symlink': {
    layers: [[...passwd, symlink('local', '/etc'), link('localpasswd', '/local/passwd')]],
    same: joined,
  },
  'a hard link through a long relative symlink': {
    layers: [[...passwd, symlink('local', `${up}/etc`), link('localpasswd', '/local/passwd')]],
    same: joined,
  },
  'a hard link through a symlink by way of what is not there': {
    layers: [[...passwd, symlink('local', 'missing/../../../etc'), link('localpasswd', '/local/passwd')]],
    refused: /does not exist/,
  },
  'a hard link to a name that climbs': { layers: [[...passwd, link('localpasswd', `${up}/etc/passwd`)]], same: joined },
  'a hard link to an absolute name': { layers: [[...passwd, link('localpasswd', '/etc/passwd')]], same: joined },
  'a hard link to the symlink before its target is there': {
    layers: [[dir('etc'), symlink('l', '/etc/passwd'), link('two', 'l'), file('/etc/passwd', 'after')]],
    content: { 'etc/passwd': 'after' },
    symlinks: ['l', 'two'],
    same: [['l', 'two']],
  },
  'a hard link to a relative symlink': {
    layers: [[...passwd, symlink('l', `${up}/etc/passwd`), link('two', '/l')]],
    symlinks: ['l', 'two'],
    same: [['l', 'two']],
  },
  'a hard link to an absolute symlink': {
    layers: [[...passwd, symlink('l', '/etc/passwd'), link('two', '/l')]],
    symlinks: ['l', 'two'],
    same: [['l', 'two']],
  },
  'a hard link to a file beside the root whose name begins as the root does': {
    layers: [[link('grab', '../root-evil/secret')]],
    refused: /does not exist/,
  },
  'a hard link to what is beside the root': { layers: [[link('grab', '/../outside/file')]], refused: /does not exist/ },
  'a hard link to a directory beside the root, then a file in it': {
    layers: [[link('loophole', '../outside'), file('loophole/file')]],
    refused: /does not exist/,
  },
  'a symlink to a directory beside the root, and a symlink through it': {
    layers: [[symlink('loophole', '../outside'), symlink('l', 'loophole/file')]],
    symlinks: ['loophole', 'l'],
  },
  'a symlink to a directory beside the root, and a hard link through it': {
    layers: [[symlink('loophole', '../outside'), link('h', 'loophole/file')]],
    refused: /does not exist/,
  },
  'a symlink to a directory beside the root, replaced by a file': {
    layers: [[symlink('loophole', '../outside'), file('loophole', 'mine')]],
    content: { loophole: 'mine' },
  },
  'a new directory and file below a symlink that leads out': {
    layers: [[symlink('d/loophole', '../../outside'), file('d/loophole/new/file', 'in')]],
    content: { 'outside/new/file': 'in' },
    symlinks: ['d/loophole'],
  },
  'a symlink up, and one out that is made through it': {
    layers: [
      [dir('in'), symlink('in/up', '..'), symlink('in/up/escape', '../outside'), file('in/up/escape/new', 'in')],
    ],
    content: { 'outside/new': 'in' },
    symlinks: ['escape'],
  },
  'an absolute symlink that is reached by way of one that climbs': {
    layers: [
      [dir('target'), symlink('escape', '..'), symlink('absolute', '/target'), file('escape/absolute/file', 'in')],
    ],
    content: { 'target/file': 'in' },
  },
  'a file below a file': { layers: [[file('nondir', ''), file('nondir/foo/bar/baz')]], refused: /not a directory/ },
  'a directory that becomes a symlink to the root and a directory again': {
    layers: [
      [
        dir('foo/tmp'),
        file('foo/tmp/windlass-suites', 'one'),
        symlink('foo', '/'),
        dir('tmp'),
        file('foo/tmp/windlass-suites', 'two'),
        dir('foo'),
        dir('foo/tmp'),
        file('foo/tmp/windlass-suites', 'three'),
      ],
    ],
    content: { 'tmp/windlass-suites': 'two', 'foo/tmp/windlass-suites': 'three' },
  },
  'a symlink named ..': { layers: [[...passwd, symlink('..', '/etc/')]], refused: /root/ },
  'a symlink without a name': { layers: [[...passwd, symlink('', '/etc/')]], refused: /root|name/ },
  'a symlink whose name ends with ..': {
    layers: [[...passwd, symlink('local/sub/..', '/etc/'), link('/local/localpasswd', '/etc/passwd')]],
    symlinks: ['local'],
    same: [['etc/localpasswd', 'etc/passwd']],
  },
  'a hard link into a directory whose name ends with a slash': {
    layers: [[...passwd, dir('local/'), link('/local/localpasswd', '/etc/passwd')]],
    same: [['local/localpasswd', 'etc/passwd']],
  },
  'a file named ..': { layers: [[file('..', 'bad')]], refused: /root/ },
  'a file whose name begins with two dots': { layers: [[file('..gitme', 'kept')]], content: { '..gitme': 'kept' } },
  'a hard link through an absolute symlink to a file that was made through it': {
    layers: [
      [dir('run'), symlink('var/run', '/run'), file('var/run/source', 'x'), link('var/run/link', 'var/run/source')],
    ],
    same: [['run/link', 'run/source']],
  },
  // As containerd makes the directory that the symlink leads to; docker, GNU tar and bsdtar do not.
  'a file through an absolute symlink to nothing': {
    layers: [[symlink('var/run', '/run'), file('var/run/source', 'x')]],
    content: { 'run/source': 'x' },
    symlinks: ['var/run'],
  },
  'a file through a symlink to nothing that climbs out': {
    layers: [[symlink('a/b/out', `${up}/new/place`), file('a/b/out/source', 'x')]],
    content: { 'new/place/source': 'x' },
    symlinks: ['a/b/out'],
  },
  'a file through symlinks to nothing, one after the other': {
    layers: [[symlink('one', 'two/.//y'), symlink('two', '/three'), file('one/z/source', 'x')]],
    content: { 'three/y/z/source': 'x' },
    symlinks: ['one', 'two'],
  },
  'a file through a symlink that leads back out of what is missing': {
    layers: [[dir('real'), symlink('one', 'gone/../real/new'), file('one/source', 'x')]],
    refused: /not a directory/,
  },
  'a file through a symlink to itself': {
    layers: [[symlink('round', 'round'), file('round/source', 'x')]],
    refused: /not a directory/,
  },
  'a file through symlinks that lead to each other by what is missing': {
    layers: [[symlink('one', 'gone/../two'), symlink('two', 'gone/../one'), file('one/source', 'x')]],
    refused: /not a directory/,
  },
  'a file through a symlink to below a file': {
    layers: [[file('plain'), symlink('one', 'plain/new'), file('one/source', 'x')]],
    refused: /not a directory/,
  },
}

/** A layer over others. */
const layered: Readonly<Record<string, Attempt>> = {
  'a symlink in place of a directory, and a hard link through it': {
    layers: [
      [...passwd, dir('local')],
      [symlink('local', '/etc'), file('local/new', 'x'), link('two', 'local/new')],
    ],
    same: [['two', 'etc/new']],
    symlinks: ['local'],
  },
  'a climbing symlink in place of a directory': {
    layers: [
      [...passwd, dir('local')],
      [symlink('local', `${up}/etc`), file('local/new', 'x')],
    ],
    content: { 'etc/new': 'x', 'etc/passwd': 'inside' },
  },
  'a directory in place of a symlink': {
    layers: [
      [...passwd, symlink('local', '/etc')],
      [dir('local'), file('local/passwd', 'other')],
    ],
    content: { 'etc/passwd': 'inside', 'local/passwd': 'other' },
  },
  'a directory in place of a symlink that a hard link was made through': {
    layers: [
      [...passwd, symlink('local', 'etc'), link('/local/localpasswd', '/etc/passwd')],
      [dir('local'), file('local/localpasswd', 'different')],
    ],
    content: { 'etc/passwd': 'inside', 'local/localpasswd': 'different' },
  },
  'a whiteout of the symlink alone': {
    layers: [[...passwd, symlink('local', '/etc')], [file('.wh.local', '')]],
    content: { 'etc/passwd': 'inside' },
    absent: ['local'],
  },
  'a whiteout through a symlink of the image': {
    layers: [[...passwd, file('etc/gone'), symlink('local', '/etc')], [file('local/.wh.gone', '')]],
    content: { 'etc/passwd': 'inside' },
    absent: ['etc/gone'],
  },
  'a whiteout through a symlink to nothing': {
    layers: [[...passwd, symlink('local', '/missing')], [file('local/.wh.etc', '')]],
    content: { 'etc/passwd': 'inside' },
  },
  'a whiteout by a name that climbs': {
    layers: [[...passwd], [file('missing/../.wh.etc', '')]],
    absent: ['etc'],
  },
  'an opaque directory with symlinks that lead out': {
    layers: [
      [
        dir('d'),
        file('d/below'),
        symlink('d/out', '..'),
        symlink('d/shadow', `${up}/etc/shadow`),
        dir('d/e'),
        file('d/e/f'),
      ],
      [dir('d'), file('d/above', 'kept'), symlink('d/shadow', `/${up}/etc/shadow`), file('d/.wh..wh..opq', '')],
    ],
    content: { 'd/above': 'kept' },
    symlinks: ['d/shadow'],
    absent: ['d/below', 'd/out', 'd/e'],
  },
  'an opaque mark behind what it must keep, in directories that nothing describes': {
    layers: [
      [file('d/some/dir/below'), file('d/other/below')],
      [file('d/some/dir/above', 'kept'), file('d/.wh..wh..opq', '')],
    ],
    content: { 'd/some/dir/above': 'kept' },
    absent: ['d/some/dir/below', 'd/other'],
  },
}

async function attempt(mode: (typeof modes)[number], { layers, refused, ...wanted }: Attempt): Promise<void> {
  using arena = new Arena()
  const unpacked = arena.unpack(mode, ...layers)
  if (refused !== undefined) await assert.rejects(unpacked, refused)
  else await unpacked
  const path = (name: string): string => join(arena.root, name)
  for (const [name, content] of Object.entries(wanted.content ?? {}))
    assert.equal(readFileSync(path(name), 'utf8'), content, name)
  for (const [one, two] of wanted.same ?? []) {
    assert.equal(lstatSync(path(one)).ino, lstatSync(path(two)).ino, `${one} and ${two}`)
  }
  for (const name of wanted.symlinks ?? []) assert.ok(lstatSync(path(name)).isSymbolicLink(), name)
  for (const name of wanted.absent ?? []) assert.ok(!existsSync(path(name)), name)
  assert.ok(statSync(arena.root).isDirectory())
}

for (const mode of modes)
  for (const [name, what] of Object.entries(single)) test(`${mode}: ${name}`, () => attempt(mode, what))
for (const [name, what] of Object.entries(layered)) test(`layers: ${name}`, () => attempt('flat', what))

test('nothing was written outside of the roots', () => {
  for (const path of ['/tmp/windlass-suites', '/etc/kept', '/etc/new']) assert.equal(existsSync(path), false, path)
})
