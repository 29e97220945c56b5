import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { steadyEnvironment, windlassCommand } from '../faults/death.ts'
import { makeLayer, serveImage } from '../faults/image.ts'
import type { RawEntry } from '../tar-builder.ts'
import { run, runCommand } from '../testbed/command.ts'
import { readTree } from '../tree.ts'
import { TestDirectory } from '../unpack-tar.ts'
import { dir, file, link, symlink } from './arena.ts'

/** CVE-2026-47262 and CVE-2024-1753: the users of an image are looked up in files of the image, which may be anything, or lead anywhere. */

const users = 'root:x:0:0:root:/home-of-root:/bin/sh\napp:x:7:8::/home/app:\n'
const groups = 'root:x:0:\nmore:x:9:root\n'
const passwd = (entry: RawEntry): RawEntry[] => [
  dir('etc'),
  { mode: 0o644, ...entry, name: 'etc/passwd' },
  file('etc/group', groups),
]
const group = (entry: RawEntry): RawEntry[] => [
  dir('etc'),
  file('etc/passwd', users),
  { mode: 0o644, ...entry, name: 'etc/group' },
]
const zero: RawEntry = { typeflag: '3', devmajor: 1, devminor: 5, name: '' }
const flood = 'x:y\n'.repeat(300_000)

interface Found {
  readonly home: string
  readonly groups: readonly number[]
}

/** Unpacks a bundle under strace. `opened`: what it opened of the image's /etc, once the layers were there. */
async function bundle(
  entries: readonly RawEntry[],
  outside: string,
): Promise<Found & { opened: string[]; rootfs: string }> {
  using directory = new TestDirectory()
  await using image = await serveImage([makeLayer(entries)])
  const root = join(directory.path, 'store')
  const target = join(directory.path, 'bundle')
  const [program = '', ...args] = windlassCommand(
    '--root',
    root,
    '--quiet',
    'pull',
    '--platform',
    'linux/amd64',
    image.reference,
  )
  await run(program, args, { env: steadyEnvironment })
  const trace = join(outside, 'trace')
  const options = ['-f', '-qq', '--seccomp-bpf', '-o', trace, '-e', 'trace=openat,open']
  const command = windlassCommand('--root', root, '--quiet', 'unpack', '--bundle', image.reference, target)
  const { status, stderr } = await runCommand('strace', [...options, ...command], {
    env: steadyEnvironment,
    timeoutMs: 60_000,
  })
  assert.equal(status, 0, stderr)
  const { process } = JSON.parse(readFileSync(join(target, 'config.json'), 'utf8'))
  const opened = readFileSync(trace, 'utf8').matchAll(/open(?:at)?\(.*"[^"]*\/rootfs\/etc\/(passwd|group)"/g)
  return {
    home: process.env.find((text: string) => text.startsWith('HOME=')),
    groups: process.user.additionalGids,
    opened: [...opened].map(([, name = '']) => name).sort(),
    rootfs: [...readTree(join(target, 'rootfs')).keys()].join(),
  }
}

const cases: [string, RawEntry[], string[]][] = [
  ['a fifo', passwd({ typeflag: '6' }), ['group']],
  ['an endless device', passwd(zero), ['group']],
  ['a link out of the image', passwd(symlink('', '@outside/passwd')), ['group']],
  ['a link that climbs out', passwd(symlink('', '../../../outside/passwd')), ['group']],
  ['a hard link to a link out of the image', [symlink('s', '@outside/passwd'), ...passwd(link('', 's'))], ['group']],
  ['a directory', [dir('etc'), dir('etc/passwd'), file('etc/group', groups)], ['group']],
  ['a flood', passwd(file('', users + flood)), ['group', 'passwd']],
  ['below an /etc that is a link out of the image', [symlink('etc', '@outside')], []],
]

for (const [name, entries, opened] of cases)
  test(`an /etc/passwd that is ${name} is no list of users, and is not opened unless it is a file`, {
    timeout: 90_000,
  }, async () => {
    using outside = new TestDirectory()
    const place = join(outside.path, 'outside')
    mkdirSync(place)
    for (const [file, text] of Object.entries({ passwd: users, group: groups })) writeFileSync(join(place, file), text)
    const aimed = entries.map(entry => ({
      ...entry,
      linkname: entry.linkname?.toString().replace('@outside', place) ?? '',
    }))
    const found = await bundle(aimed, outside.path)
    assert.deepEqual([found.home, found.opened], ['HOME=/root', opened])
    assert.match(found.rootfs, /etc/)
    assert.equal(readFileSync(join(place, 'passwd'), 'utf8'), users)
  })

for (const [name, entry] of [
  ['a fifo', { typeflag: '6', name: '' }],
  ['an endless device', zero],
  ['a flood', file('', groups + flood)],
] as const)
  test(`an /etc/group that is ${name} is no list of groups`, { timeout: 90_000 }, async () => {
    using outside = new TestDirectory()
    const found = await bundle(group(entry), outside.path)
    assert.deepEqual([found.home, found.groups], ['HOME=/home-of-root', []])
  })

test('an /etc/passwd and an /etc/group that are files say who the users are', { timeout: 90_000 }, async () => {
  using outside = new TestDirectory()
  const found = await bundle([...passwd(file('', users))], outside.path)
  assert.deepEqual([found.home, found.groups, found.opened], ['HOME=/home-of-root', [9], ['group', 'passwd']])
})
