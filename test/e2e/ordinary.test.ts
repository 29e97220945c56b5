/** An ordinary user's windlass: a user that is known, and may have subordinate IDs, in a mount namespace of the test's only. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { listNames } from '../faults/aftermath.ts'
import { makeDirectory, makeFile, makeLayer, makeNoise, type ServedImage, serveImage } from '../faults/image.ts'
import { type CommandResult, run, runCommand } from '../testbed/command.ts'
import { windlassProgram } from '../testbed/windlass.ts'
import { readTree, type Tree } from '../tree.ts'

const user = 4711
const firstSubId = 200_000
const directory = mkdtempSync(join(tmpdir(), 'windlass-ordinary-'))
let image: ServedImage

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
/** What a shell needs to run, from this machine. */
function shellFiles(): string[] {
  const libraries = execFileSync('ldd', ['/bin/sh'], { encoding: 'utf8' }).matchAll(/(\/\S+) \(/g)
  return ['/bin/sh', ...[...libraries].map(([, path]) => path ?? '')]
}

/** Owners of all kinds, programs with privileges, a device, attributes that are root's, whiteouts. */
const layers = [
  makeNoise('noise', 1 << 20),
  makeLayer([
    ...['dev/', 'proc/', 'sys/'].map(makeDirectory),
    ...shellFiles().map(path => ({ ...makeFile(path.slice(1), readFileSync(path)), mode: 0o755 })),
  ]),
  makeLayer([
    { name: './', typeflag: '5', mode: 0o755, mtime: 1_700_000_000 },
    { ...makeDirectory('home/'), uid: 1000, gid: 1000 },
    { ...makeDirectory('secret/'), uid: 33, gid: 33, mode: 0 },
    { ...makeFile('home/program', 'x'), uid: 1000, gid: 1001, mode: 0o6755 },
    { ...makeFile('home/ping', 'x'), pax: [['SCHILY.xattr.security.capability', capability]] },
    { ...makeFile('home/root', 'x'), pax: [['SCHILY.xattr.trusted.root', 'x']] },
    { ...makeFile('secret/file', 'x'), uid: 33, gid: 33, mode: 0o400 },
    makeDirectory('opaque/'),
    makeFile('opaque/below', 'x'),
    makeFile('gone', 'x'),
  ]),
  makeLayer([makeFile('opaque/.wh..wh..opq'), makeFile('opaque/above', 'x'), makeFile('.wh.gone')]),
  makeLayer([
    { ...makeFile('far', 'x'), uid: 3_000_000, gid: 0, mode: 0o4755 },
    { name: 'null', typeflag: '3', devmajor: 1, devminor: 3, mode: 0o666, mtime: 1_700_000_000 },
  ]),
]

before(async () => {
  image = await serveImage(layers)
  chownSync(directory, user, user)
  writeFileSync(join(directory, 'passwd'), `root:x:0:0::/:/bin/sh\npawl:x:${user}:${user}::/:/bin/sh\n`)
  writeFileSync(join(directory, 'subids'), `pawl:${firstSubId}:65536\n`)
  writeFileSync(join(directory, 'none'), '')
})
after(async () => {
  await image?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

/** Runs a script as the user; `$w` is windlass, `$ref` the image, the working directory and home is `name`. */
async function asUser(name: string, script: string, options: { ids: 'many' | 'one' }): Promise<CommandResult> {
  const home = join(directory, name)
  mkdirSync(home, { recursive: true })
  chownSync(home, user, user)
  const ids = join(directory, options.ids === 'many' ? 'subids' : 'none')
  const prepare = `mount --bind "$1/passwd" /etc/passwd; mount --bind "$2" /etc/subuid; mount --bind "$2" /etc/subgid; cd "$3"
    ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified # crun refuses both versions at once
    exec setpriv --reuid ${user} --regid ${user} --clear-groups env -i PATH="$PATH" HOME="$3" w="$4" ref="$5" sh -ec "$6"`
  const given = [directory, ids, home, windlassProgram, image.reference, script]
  return await runCommand('unshare', ['--mount', 'sh', '-ec', prepare, 'sh', ...given])
}

function store(name: string): string {
  return join(directory, name, '.local', 'share', 'windlass')
}

/** What a tree of the user's would be to root: owners of the subordinate IDs are those that the image has. */
function ownersInside(tree: Tree): Tree {
  const inside = (id: number) => (id === user ? 0 : id - firstSubId + 1)
  return new Map([...tree].map(([name, facts]) => [name, { ...facts, uid: inside(facts.uid), gid: inside(facts.gid) }]))
}

/** Without what only root of the host can have, and the times of what no entry describes. */
function common(tree: Tree): unknown[] {
  return [...tree]
    .filter(([name]) => name !== 'null' && name !== 'far')
    .map(([name, { type, mode, uid, gid, size, sha256 }]) => [name, { type, mode, uid, gid, size, sha256 }])
}

const line = (pattern: RegExp, text: string) => text.split('\n').filter(line => pattern.test(line))

describe('an ordinary user', { concurrency: false }, () => {
  test('with subordinate IDs has images with the owners that they have', { timeout: 120_000 }, async () => {
    const root = join(directory, 'root')
    await run(windlassProgram, ['--root', root, 'pull', '--platform', 'linux/amd64', image.reference])
    await run(windlassProgram, ['--root', root, 'unpack', image.reference, join(directory, 'expected')])

    const script = '$w pull --platform linux/amd64 $ref; $w unpack $ref tree; $w verify; $w images -q'
    const { status, stdout, stderr } = await asUser('many', script, { ids: 'many' })
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^\S+@sha256:[0-9a-f]{64}\n\S+\/tree\n[0-9a-f]{12}\n$/)
    assert.equal(line(/^warning: No subordinate/, stderr).length, 0)
    // by pull and by unpack
    assert.equal(line(/^warning: Left out of layer \S+: extended attributes trusted\.root$/, stderr).length, 2)
    assert.equal(line(/^warning: Left out of layer \S+: owners of entries \(1\), /, stderr).length, 2)
    assert.equal(line(/^warning: Left out of layer \S+: device nodes \(1\), /, stderr).length, 2)

    const tree = ownersInside(readTree(join(directory, 'many', 'tree')))
    assert.deepEqual(common(tree), common(readTree(join(directory, 'expected'))))
    assert.deepEqual([tree.get('far')?.uid, tree.get('far')?.mode], [0, '0755'])
    assert.deepEqual([tree.get('null')?.type, tree.get('null')?.size], ['file', 0])
  })

  test('mounts in a shell of unshare, where alone a mount would stay', { timeout: 120_000 }, async () => {
    const look = `'d=$($w mount $ref); ls $d $d/opaque | grep -v ^lib; stat -c %u:%a $d/home/program; $w mount -q; $w umount $ref; $w mount -q; exit 42'`
    const { status, stdout, stderr } = await asUser('many', `$w unshare -- sh -ec ${look}`, { ids: 'many' })
    assert.equal(status, 42, stderr)
    const merged = join(store('many'), 'mounts')
    const seen = stdout.replaceAll(new RegExp(`${merged}/[0-9a-f]{16}/merged`, 'g'), 'MOUNT')
    const wanted = [
      'MOUNT:',
      'bin',
      'dev',
      'far',
      'home',
      'noise',
      'null',
      'opaque',
      'proc',
      'secret',
      'sys',
      '',
      'MOUNT/opaque:',
      'above',
    ]
    assert.equal(seen, [...wanted, '1000:6755', 'MOUNT', ''].join('\n'))
    const alone = await asUser('many', '$w mount $ref', { ids: 'many' })
    assert.equal(alone.status, 7)
    assert.match(alone.stderr, /^windlass: Cannot mount .*\nhint: run it in a shell of 'windlass unshare'/)
  })

  test('has what is mounted there for as long as the shell lives, though others do not see it', {
    timeout: 120_000,
  }, async () => {
    const hold = `d=$($w mount -w $ref); echo mine >$d/mine; touch mounted
      until [ -e removed ]; do sleep 0.05; done; cat $d/mine; stat -c %u:%a $d/home/program`
    const script = `$w pull -q --platform linux/amd64 $ref
      $w unshare -- sh -ec '${hold}' >seen & until [ -e mounted ]; do sleep 0.05; done
      $w rmi $ref >removing; $w gc >collected; touch removed; wait $!; cat seen; $w gc -q >collected`
    const { status, stdout, stderr } = await asUser('held', script, { ids: 'many' })
    assert.equal(status, 0, stderr)
    assert.match(stdout, /\nmine\n1000:6755\n$/)
    assert.deepEqual(listNames(join(store('held'), 'overlay2')), ['l'])
    assert.deepEqual(listNames(join(store('held'), 'mounts')), [])
  })

  for (const ids of ['many', 'one'] as const) {
    test(`has a bundle that runc and crun start, with ${ids} ID${ids === 'many' ? 's' : ''}`, {
      timeout: 120_000,
    }, async () => {
      const script = '$w pull -q --platform linux/amd64 $ref; $w unpack -q --bundle $ref bundle'
      const made = await asUser(`bundle-${ids}`, script, { ids })
      assert.equal(made.status, 0, made.stderr)
      const file = join(directory, `bundle-${ids}`, 'bundle', 'config.json')
      const config = JSON.parse(readFileSync(file, 'utf8'))
      config.process.args = ['sh', '-c', 'read a b c </proc/self/uid_map; echo $a $b $c; test -c /dev/null']
      writeFileSync(file, JSON.stringify(config))
      const start =
        'for r in runc crun; do XDG_RUNTIME_DIR=$PWD $r --root $PWD/$r run --no-new-keyring -b bundle $r-$$; done'
      const { status, stdout, stderr } = await asUser(`bundle-${ids}`, start, { ids })
      assert.equal(status, 0, stderr)
      assert.equal(stdout, `0 ${user} 1\n`.repeat(2))
    })
  }

  test('removes what belongs to the subordinate IDs', { timeout: 120_000 }, async () => {
    const { status, stderr } = await asUser('many', '$w unshare -- rm -r tree; $w rmi $ref; $w gc; $w verify', {
      ids: 'many',
    })
    assert.equal(status, 0, stderr)
    assert.deepEqual(
      listNames(join(directory, 'many')).filter(name => name === 'tree'),
      [],
    )
    assert.deepEqual(listNames(join(store('many'), 'overlay2')), ['l'])
    assert.deepEqual(listNames(join(store('many'), 'ingest')), [])
  })

  test('with one ID owns all files, and is told so', { timeout: 120_000 }, async () => {
    const script = '$w pull --platform linux/amd64 $ref; $w unpack $ref tree; $w verify'
    const { status, stderr } = await asUser('one', script, { ids: 'one' })
    assert.equal(status, 0, stderr)
    const told = /^warning: No subordinate user IDs: \/etc\/subuid and \/etc\/subgid have no line for pawl; /
    assert.equal(line(told, stderr).length, 2)
    assert.equal(line(/^warning: Left out of layer \S+: owners of entries \(4\), /, stderr).length, 2)
    const tree = readTree(join(directory, 'one', 'tree'))
    assert.deepEqual([...new Set([...tree.values()].flatMap(({ uid, gid }) => [uid, gid]))], [user])
    assert.equal(tree.get('home/program')?.mode, '0755')
    assert.equal(tree.get('secret/file')?.mode, '0400')
    const removed = await asUser('one', '$w rmi $ref; $w gc', { ids: 'one' })
    assert.equal(removed.status, 0, removed.stderr)
    assert.deepEqual(listNames(join(store('one'), 'overlay2')), ['l'])
  })

  test('is told what forbids user namespaces', { timeout: 60_000 }, async () => {
    // in a namespace of its own, since the setting would be the host's; its shell has the rights of its root once it is run anew
    const inside = `echo 0 >/proc/sys/user/max_user_namespaces
      exec setpriv --reuid ${user} --regid ${user} --clear-groups env -i PATH="$PATH" HOME="$1" "$2" pull "$3"`
    const script = `unshare --user sh -c 'until grep -q . /proc/self/uid_map; do sleep 0.02; done; exec sh -ec "$@"' sh "$@" &
      until echo 0 0 65536 >/proc/$!/gid_map; do sleep 0.02; done 2>/dev/null
      echo 0 0 65536 >/proc/$!/uid_map
      wait $!`
    const given = [inside, 'sh', join(directory, 'one'), windlassProgram, image.reference]
    const { status, stderr } = await runCommand('sh', ['-ec', script, 'sh', ...given], { timeoutMs: 30_000 })
    assert.equal(status, 7)
    assert.equal(
      stderr,
      `windlass: Cannot make a user namespace for user ${user}: /proc/sys/user/max_user_namespaces is 0\n` +
        "hint: let root run 'sysctl user.max_user_namespaces=15000', or run windlass as root\n",
    )
  })
})
