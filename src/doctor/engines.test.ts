import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeEngine } from '../../test/checked.ts'
import { besideUs, FixtureHost } from '../../test/fixture-host.ts'
import { LiveHost } from '../sys/host-view.ts'
import { ancestorsOf, descendantsOf, nearestOf, type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import { RecordedHost } from '../sys/recorded-host.ts'
import { collectHere } from './collector.ts'
import {
  askEngine,
  type Engine,
  findEngines,
  findStrangeness,
  isListenerOf,
  isOfHost,
  listEngines,
  settingsOf,
  withGraphRoot,
} from './engines.ts'

test('a program is run to tell its version only if root or we have started it beside us, or nobody but root can replace it', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-engine-'))
  t.after(() => rmSync(directory, { recursive: true }))
  // The group might put another one there.
  chmodSync(directory, 0o775)
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
    strangers.push(engine.stranger)
    return engine.version
  }
  const strangers: Engine['stranger'][] = []
  assert.match((await versionOf(0)) ?? 'none', /^\d/)
  assert.equal(await versionOf(65_534), undefined)
  // Root runs what is another's, who may have changed since what it loads.
  const theirs = join(directory, 'theirs', 'podman')
  mkdirSync(join(directory, 'theirs'))
  copyFileSync('/bin/sleep', theirs)
  chownSync(theirs, 65_534, 65_534)
  assert.equal(await versionOf(0, [theirs, '30']), undefined)
  assert.deepEqual([strangers[0], strangers.at(-1)], [undefined, { place: theirs, uid: 65_534, isOpen: false }])
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
    assert.notEqual(await findStrangeness(new FixtureHost({ links: without, files: root }), 7), 'mounts', path)
    assert.equal(await judge({ ...beside, [path]: 'other' }), false, path)
    const host = new FixtureHost({ links: { ...beside, [path]: 'other' }, files: root })
    const what = path.endsWith('/root') ? 'root' : path.endsWith('/mnt') ? 'mounts' : 'namespaces'
    assert.equal(await findStrangeness(host, 7), what, path)
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

/** Is called like an engine, listens as often as it is told, and answers with 2 MiB on each socket on which it is asked, three quarters of that everywhere before the rest anywhere. */
const talks = `use IO::Socket::UNIX; use IO::Select; $| = 1; $SIG{PIPE} = 'IGNORE'; my ($at, $count) = @ARGV;
  my $all = IO::Select->new(map { IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "$at/$_", Listen => 9) or die $! } 1 .. $count);
  open my $f, ">", "/proc/self/comm"; print $f "dockerd"; close $f; print "in\\n"; my @asked;
  while (my @ready = $all->can_read(@asked ? 1 : 60)) { for my $l (@ready) { my $c = $l->accept; sysread $c, my $r, 9999; push @asked, $c } }
  print $_ "HTTP/1.0 200 OK\\r\\n\\r\\n", "x" x (3 << 19) for @asked;
  for (@asked) { print $_ "x" x (1 << 19); close $_ }`

test('a stranger who listens often, and answers much, is asked a few times, and takes little', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'wl-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chownSync(directory, 65_534, 65_534)
  const { pid } = await startPerl(t, [talks, directory, '40'], 65_534)
  const host = new LiveHost()
  const [engine = assert.fail()] = listEngines(host, readProcessTable(host), pid)
  assert.equal(engine.sockets.length, 16)
  const answers = await Promise.all(engine.sockets.map(socket => askEngine(host, engine, socket, '/')))
  const whole = answers.filter(answer => answer !== undefined)
  assert.ok(
    whole.every(({ body }) => body.length === 2 << 20),
    'an answer is whole or none',
  )
  assert.ok(whole.length <= 2, `${whole.length} came through`)
})

/** Is called like an engine, listens, has accepted a connection to itself and a TCP connection; tells the inodes of these two, and ends with its input. */
const busy = `use IO::Socket::UNIX; use IO::Socket::INET; $| = 1;
  my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $ARGV[0], Listen => 9) or die $!;
  my $c = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; my $a = $s->accept;
  my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!;
  open my $f, ">", "/proc/self/comm"; print $f "dockerd"; close $f;
  print join(" ", map { readlink("/proc/self/fd/" . fileno($_)) =~ /(\\d+)/ } $a, $l), "\n"; readline STDIN`

/** Binds a socket in whose name a line of the kernel's table is, and listens at the path that the line tells; answers whatever it is asked. */
const forges = `use IO::Socket::UNIX; $| = 1; $SIG{PIPE} = 'IGNORE'; my ($inode, $evil, $prefix) = @ARGV;
  my $name = "$prefix\\n0: 0 0 00010000 0 0 $inode $evil"; my $above = $name; $above =~ s{/[^/]*$}{}; system "mkdir", "-p", "--", $above;
  socket(my $it, AF_UNIX, SOCK_STREAM, 0); bind($it, pack_sockaddr_un($name)) or die $!;
  my $l = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $evil, Listen => 9) or die $!; chmod 0777, $evil; print "in\\n";
  my $body = '{"Version":"6.6.6","ApiVersion":"1.41"}';
  while (my $c = $l->accept) { sysread $c, my $r, 9999; print $c "HTTP/1.0 200 OK\\r\\n\\r\\n$body"; close $c }`

async function startPerl(t: TestContext, [program, ...args]: readonly string[], uid = 0) {
  const child = spawn('perl', ['-e', program ?? '', '--', ...args], { uid, stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { pid: child.pid ?? assert.fail(), words: line.toString().trim().split(' ') }
}

test('nobody answers for an engine by a line of the kernel’s table that he has put into the name of a socket', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'wl-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const [own, theirs] = [join(directory, 's'), join(directory, 'n')]
  mkdirSync(theirs)
  chownSync(theirs, 65_534, 65_534)
  const { pid, words } = await startPerl(t, [busy, own])
  const [accepted = '', foreign = ''] = words
  const look = async () => {
    const host = new LiveHost()
    const [engine] = await findEngines(host, readProcessTable(host), pid)
    return [engine?.sockets, engine?.version]
  }
  // One that the table has, and does not listen: told twice. One of TCP, which it has not: told once, and answered by somebody else.
  await startPerl(t, [forges, accepted, join(theirs, 'e'), join(theirs, 'a')], 65_534)
  assert.deepEqual(await look(), [[own], undefined])
  await startPerl(t, [forges, foreign, join(theirs, 'f'), join(theirs, 'b')], 65_534)
  const [sockets, version] = await look()
  assert.deepEqual([new Set(sockets), version], [new Set([own, join(theirs, 'f')]), undefined])
  // Nor to the script.
  const record = new RecordedHost(await collectHere({ pid, signal: t.signal }))
  assert.deepEqual(
    ['s', 'n/e', 'n/f'].map(name => record.wasAsked(join(directory, name), '/version')),
    [true, false, false],
  )
})

test('who listens is the engine, or what has started it, of root or of its user', () => {
  const stat = (pid: number, parent: number) => [
    `/proc/${pid}/stat`,
    `${pid} (x) S ${parent} 1 1 0 -1 0 ${Array(40).fill(0).join(' ')}`,
  ]
  const uids = { 7: 1000, 8: 0 }
  const files = Object.fromEntries([
    ...[stat(1, 0), stat(5, 1), stat(7, 5), stat(8, 1), stat(9, 7)],
    ...Object.entries(uids).map(([pid, uid]) => [`/proc/${pid}/status`, `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`]),
  ])
  const host = new FixtureHost({ files })
  const judge = (pid: number, listener: number, uid: number) => isListenerOf(host, pid, { pid: listener, uid })
  // systemd has pid 1, or is one of the user.
  for (const [listener, uid] of [
    [7, 1000],
    [7, 0],
    [5, 1000],
    [1, 0],
  ] as const)
    assert.ok(judge(7, listener, uid))
  // A child of it, another process, one that had its number before, and what is another user's.
  for (const [listener, uid] of [
    [9, 1000],
    [8, 0],
    [7, 1001],
    [5, 1001],
  ] as const)
    assert.ok(!judge(7, listener, uid))
  assert.ok(judge(8, 1, 0) && !judge(8, 8, 1000))
})

/** A podman, and what it has started: with these words, in that user namespace. */
function startedAgain(words: readonly string[], namespace: string | undefined, name = 'podman', numbers = 'pid:[1]') {
  const all = [
    { pid: 7, parent: 1, name: 'podman', args: ['podman', 'pull', 'a'], user: 'user:[1]' },
    { pid: 8, parent: 7, name, args: words, user: namespace },
  ]
  const files = all.flatMap(({ pid, parent, name, args }) => [
    [`/proc/${pid}/stat`, `${pid} (${name}) S ${parent} 1 1 0 -1 0 ${Array(40).fill(0).join(' ')}`],
    [`/proc/${pid}/cmdline`, args.map(word => `${word}\0`).join('')],
  ])
  const links = [
    ...all.flatMap(({ pid, user }) => (user === undefined ? [] : [[`/proc/${pid}/ns/user`, user]])),
    ['/proc/7/ns/pid', 'pid:[1]'],
    ['/proc/8/ns/pid', numbers],
    ['/proc/7/exe', '/usr/bin/podman'],
    ['/proc/8/exe', '/'], // of a copy without a name
  ]
  return new FixtureHost({
    files: Object.fromEntries(files),
    links: Object.fromEntries(links),
    tells: { '/proc/7/exe --version': 'podman version 4.3.1\n' },
  })
}

test('a podman of an ordinary user that starts itself again in a user namespace is one engine: the one that works, by whichever of the two it is asked for', async () => {
  for (const first of ['podman', 'podman-in-a-user-namespace']) {
    const host = startedAgain([first, 'pull', 'a'], 'user:[2]')
    const table = readProcessTable(host)
    for (const pid of [undefined, 7, 8])
      assert.deepEqual(
        (await findEngines(host, table, pid)).map(engine => [engine.process.pid, engine.program, engine.version]),
        [[8, '/usr/bin/podman', '4.3.1']],
      )
    assert.deepEqual(listEngines(host, table, 9), [])
  }
})

test('one that an engine starts for something else, or is not yet another program, is no such one', () => {
  const again = ['podman', 'pull', 'a']
  const pids = (host: FixtureHost) => listEngines(host, readProcessTable(host)).map(({ process }) => process.pid)
  assert.deepEqual(pids(startedAgain(again, 'user:[1]')), [7, 8])
  assert.deepEqual(pids(startedAgain(again, undefined)), [7, 8])
  assert.deepEqual(pids(startedAgain(['podman', 'pull', 'b'], 'user:[2]')), [7, 8])
  assert.deepEqual(pids(startedAgain([...again, '-q'], 'user:[2]')), [7, 8])
  assert.deepEqual(pids(startedAgain(['conmon', 'pull', 'a'], 'user:[2]')), [7, 8])
  assert.deepEqual(pids(startedAgain(again, 'user:[2]', 'buildah')), [7, 8])
  // The same in a container; the child of a script that is called podman.
  assert.deepEqual(pids(startedAgain(again, 'user:[2]', 'podman', 'pid:[2]')), [7, 8])
  assert.deepEqual(pids(startedAgain(['/usr/bin/podman', 'pull', 'a'], 'user:[2]')), [7, 8])
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

test('the nearest ancestor of a kind is found at the end of a very long chain for each of it, and none in a circle', () => {
  const chain = Array.from({ length: 100_000 }, (_, at) => [at + 2, { pid: at + 2, parent: at + 1 }] as const)
  const circle = [
    [200_001, { pid: 200_001, parent: 200_002 }],
    [200_002, { pid: 200_002, parent: 200_001 }],
  ] as const
  const table = new Map<number, unknown>([...chain, ...circle]) as unknown as ProcessTable
  const nearest = nearestOf(table, ({ pid }) => pid === 7 || pid === 9)
  for (let pid = 100_001; pid > 9; pid--) if (nearest({ parent: pid })?.pid !== 9) assert.fail(String(pid))
  assert.deepEqual(
    [9, 8, 7, 6, 200_001, 200_001, 300_000].map(parent => nearest({ parent })?.pid),
    [9, 7, 7, undefined, undefined, undefined, undefined],
  )
  const above = (parent: number, max: number) => ancestorsOf(table, { parent }, max).map(({ pid }) => pid)
  assert.deepEqual(
    [above(4, 9), above(9, 3), above(200_001, 3)],
    [
      [4, 3, 2],
      [9, 8, 7],
      [200_001, 200_002, 200_001],
    ],
  )
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
