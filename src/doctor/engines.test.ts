import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeEngine } from '../../test/checked.ts'
import { besideUs, FixtureHost } from '../../test/fixture-host.ts'
import { LiveHost } from '../sys/host-view.ts'
import { descendantsOf, type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import { findEngines, isOfHost, settingsOf, withGraphRoot } from './engines.ts'

test('a program is run to tell its version only if root or we have started it beside us, or nobody but root can replace it', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-engine-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const program = join(directory, 'podman')
  copyFileSync('/bin/sleep', program)
  const versionOf = async (uid: number, [file, ...args]: readonly [string, ...string[]] = [program, '30']) => {
    const child = spawn(file, args, { uid, stdio: 'ignore' })
    t.after(() => child.kill('SIGKILL'))
    while (readFileSync(`/proc/${child.pid}/comm`, 'latin1') !== 'podman\n') await sleep(5)
    const host = new LiveHost()
    const [engine, ...others] = await findEngines(host, readProcessTable(host), child.pid)
    assert.ok(engine)
    assert.deepEqual(others, [])
    return engine.version
  }
  assert.match((await versionOf(0)) ?? 'none', /^\d/)
  assert.equal(await versionOf(65_534), undefined)
  // As in a container that has the processes of the host.
  assert.equal(await versionOf(0, ['unshare', '--mount', program, '30']), undefined)
  // A rootless podman, and a daemon with mounts of its own (MountFlags of systemd).
  const installed = mkdtempSync('/var/lib/windlass-engine-')
  t.after(() => rmSync(installed, { recursive: true }))
  chmodSync(installed, 0o755)
  const file = join(installed, 'podman')
  copyFileSync('/bin/sleep', file)
  const all = () => Promise.all([versionOf(65_534, [file, '30']), versionOf(0, ['unshare', '--mount', file, '30'])])
  for (const version of await all()) assert.match(version ?? 'none', /^\d/)
  for (const place of [installed, file]) {
    chmodSync(place, 0o775)
    assert.deepEqual(await all(), [undefined, undefined], place)
    chmodSync(place, 0o755)
  }
  chownSync(installed, 65_534, 0)
  assert.deepEqual(await all(), [undefined, undefined])
})

test('what is not known of a process is not taken for that of the host', async () => {
  const { links: beside, files: root } = besideUs(7)
  const judge = (links: Readonly<Record<string, string>>, files: Readonly<Record<string, string>> = root) =>
    isOfHost(new FixtureHost({ links, files }), 7)
  assert.equal(await judge(beside), true)
  assert.equal(await judge(beside, {}), false)
  for (const path of Object.keys(beside)) {
    const { [path]: _, ...without } = beside
    assert.equal(await judge(without), false, path)
    assert.equal(await judge({ ...beside, [path]: 'other' }), false, path)
  }
  // Of a root that was unmounted meanwhile the kernel says that it is /, too.
  const host = new FixtureHost({ links: beside, files: root })
  for (const isOne of [false, undefined]) {
    Object.assign(host.disk, { isOne: async () => isOne })
    assert.equal(await isOfHost(host, 7), false)
  }
})

const listens = `use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $ARGV[0], Listen => 1) or die $!;
  open my $f, ">", "/proc/self/comm"; print $f "dockerd"; close $f; $| = 1; print "in\\n"; readline STDIN`

test('nobody has root ask a socket that only root may ask, by a link in the place of his own', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-engine-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const place = join(directory, 'place')
  mkdirSync(place)
  const asked: string[] = []
  const server = createServer(({ url }, response) => {
    asked.push(url ?? '')
    response.end('{"Version":"1.2.3","ApiVersion":"1"}')
  })
  await once(server.listen(join(directory, 'root')), 'listening')
  t.after(() => server.close())
  const versionOf = async (uid: number) => {
    chownSync(place, uid, uid)
    const own = join(place, `${uid}`)
    const child = spawn('sh', ['-c', 'exec perl -e "$0" "$1"', listens, own], {
      uid,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    rmSync(own)
    symlinkSync(join(directory, 'root'), own)
    const host = new LiveHost()
    const [engine] = await findEngines(host, readProcessTable(host), child.pid)
    assert.deepEqual(engine?.sockets, [own])
    return engine.version
  }
  assert.equal(await versionOf(65_534), undefined)
  assert.deepEqual(asked, [])
  // Root's own may lead where it likes: /var/run is a link.
  assert.equal(await versionOf(0), '1.2.3')
})

test('passwords of proxies are not told, however they are written', () => {
  const environment = new Map([
    ['https_proxy', 'user:secret@proxy:3128'],
    ['CONTAINERD_ADDRESS', 'tcp://user:secret@host:1'],
    ['PIGZ', '-p@2'],
  ])
  assert.deepEqual(settingsOf({ environment }), {
    https_proxy: '…@proxy:3128',
    CONTAINERD_ADDRESS: 'tcp://…@host:1',
    PIGZ: '-p@2',
  })
})

test('where podman keeps images is had from the file that counts: of root, of the user, or the one that is named', async () => {
  const files = {
    '/etc/containers/storage.conf': 'graphroot = "/images"\n',
    '/home/ann/.config/containers/storage.conf': '  graphroot = "/home/ann/images"\n',
    '/x/storage.conf': 'graphroot = "/x/images"\n',
  }
  const rootOf = async (
    uid: number,
    environment: Record<string, string>,
    args: readonly string[] = ['podman', 'pull', 'a'],
  ) => {
    const status = `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`
    const host = new FixtureHost({ files: { ...files, '/proc/7/status': status } })
    const engine = makeEngine(7, {
      kind: 'podman',
      args,
      dataRoot: '/d',
      environment: new Map(Object.entries(environment)),
    })
    return (await withGraphRoot(host, engine)).dataRoot
  }
  assert.equal(await rootOf(0, { HOME: '/root' }), '/images')
  assert.equal(await rootOf(1000, { HOME: '/home/ann' }), '/home/ann/images')
  assert.equal(await rootOf(1000, { HOME: '/home/bob' }), '/home/bob/.local/share/containers/storage')
  assert.equal(await rootOf(1000, { HOME: '/home/bob', XDG_DATA_HOME: '/data' }), '/data/containers/storage')
  assert.equal(await rootOf(1000, { HOME: '/home/ann', CONTAINERS_STORAGE_CONF: '/x/storage.conf' }), '/x/images')
  assert.equal(await rootOf(0, { HOME: '/root' }, ['podman', '--root', '/d', 'pull', 'a']), '/d')
})

test("processes that are each other's parents, as a record may say, are listed once", () => {
  const entry = (pid: number, parent: number) => [pid, { pid, parent }] as const
  const table = new Map([entry(1, 0), entry(7, 8), entry(8, 7), entry(9, 8)]) as unknown as ProcessTable
  assert.deepEqual(
    descendantsOf(table, 7).map(({ pid }) => pid),
    [8, 9],
  )
})

test('a chain of very many processes, each started by the one before, is followed to its end', () => {
  const chain = Array.from({ length: 100_000 }, (_, at) => [at + 2, { pid: at + 2, parent: at + 1 }] as const)
  const table = new Map(chain) as unknown as ProcessTable
  const found = descendantsOf(table, 1)
  assert.deepEqual([found.length, found[0]?.pid, found.at(-1)?.pid], [100_000, 2, 100_001])
})

test('what is left out goes with all that it has started, parents come first', () => {
  const entry = (pid: number, parent: number) => [pid, { pid, parent }] as const
  const all = [entry(3, 7), entry(9, 3), entry(4, 7), entry(2, 4), entry(8, 9)]
  const table = new Map(all) as unknown as ProcessTable
  const pids = (isWanted?: (entry: { readonly pid: number }) => boolean) =>
    descendantsOf(table, 7, isWanted).map(({ pid }) => pid)
  assert.deepEqual(pids(), [3, 9, 8, 4, 2])
  assert.deepEqual(
    pids(({ pid }) => pid !== 3),
    [4, 2],
  )
})
