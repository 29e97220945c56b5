import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError } from '../errors.ts'
import { RecordedHost } from './recorded-host.ts'
import { parseSshHost } from './ssh.ts'
import { readTask } from './tasks.ts'

const { signal } = new AbortController()

const facts = `Welcome to node7.
windlass-facts 2
=arch aarch64
=now 1700000000 100.00
=missing curl
l/proc/self/ns/mnt:
llrwxrwxrwx 1 root root 0 Jan  1 00:00 /proc/7/exe -> /usr/bin/dockerd
!/proc/1/fd
?/mnt/dead
c/proc/7/cmdline
bdockerd
b--debug
x/sys/fs/cgroup/memory/a:b/memory.stat
bcache 1
btotal 2
d4096 100 50 10 5 /var/lib/docker
s2048 1699999990 81a4 /var/lib/x/ingest/1/data
r/proc/7/exe --version
bDocker version 28
f100.00
t/proc/7/stat:7 (dockerd) S 1 7 7 0
t/proc/7/task/7/stat:7 (dockerd) S 1 7 7 ${'0 '.repeat(46)}
t/proc/7/task/7/syscall:98 0x1
t/proc/8/stat:8 (unpigz) R 7 8 8 0
l/proc/8/fd:
llr-x------    1 root     root            64 Nov 26 22:58 0 -> pipe:[42]
p100 65536 /proc/8/fd/0
f100.25
t/proc/7/stat:7 (dockerd) S 1 7 7 0
a/run/docker.sock /version
b{"Version":"28"}
z
what follows in a bundle
`

test('what was written down is read look by look, and what is gone stays gone', async () => {
  const host = new RecordedHost(facts)
  assert.deepEqual([host.arch, host.isWhole, host.missing], ['arm64', true, ['curl']])
  assert.equal(host.link('/proc/7/exe'), '/usr/bin/dockerd')
  assert.equal(host.text('/proc/7/cmdline'), 'dockerd\0--debug\0')
  assert.equal(host.text('/sys/fs/cgroup/memory/a:b/memory.stat'), 'cache 1\ntotal 2\n')
  assert.deepEqual([...host.names('/proc')].sort(), ['7', '8'])
  assert.deepEqual(host.names('/proc/8/fd'), ['0'])
  assert.equal(host.link('/proc/8/fd/0'), 'pipe:[42]')
  assert.deepEqual(host.pipeFill('/proc/8/fd/0'), { bytes: 100, size: 65536 })
  assert.equal(readTask(7, 7, host)?.syscall, 'futex')
  assert.ok(host.denied.has('/proc/1/fd') && host.disk.silent.has('/mnt/dead'))
  const file = await host.disk.file('/var/lib/x/ingest/1/data')
  assert.deepEqual([file?.size, file && host.now() - file.mtimeMs], [2048, 10_000])
  assert.equal((await host.disk.filesystem('/var/lib/docker'))?.bytesFree, 50 * 4096)
  assert.equal(await host.tell('/proc/7/exe', ['--version']), 'Docker version 28\n')
  assert.equal(await host.pause(250, signal), true)
  assert.equal(host.elapsed(), 100_250)
  assert.deepEqual(host.names('/proc'), ['7'])
  assert.equal(host.pipeFill('/proc/8/fd/0'), undefined)
  assert.equal((await host.ask('/run/docker.sock', '/version'))?.body, '{"Version":"28"}\n')
  assert.equal(await host.pause(250, signal), false)
})

test('facts that were cut short are known to be, and what is no record is refused', () => {
  assert.equal(new RecordedHost(facts.slice(0, facts.indexOf('a/run'))).isWhole, false)
  for (const text of ['', 'root:x:0:0', 'windlass-facts 2\n=arch x86_64\n', 'windlass-facts 3\nf1\nz\n'])
    assert.throws(() => new RecordedHost(text), isCorrupt, text)
})

test('a record may have passed through a system with other ends of lines', () => {
  const one = new RecordedHost(facts)
  for (const text of [`\uFEFF${facts}`, facts.replaceAll('\n', '\r\n'), `\uFEFF${facts.replaceAll('\n', '\r\n')}`]) {
    const host = new RecordedHost(text)
    assert.deepEqual([host.isWhole, host.missing, host.arch], [true, ['curl'], 'arm64'])
    for (const path of ['/proc/7/cmdline', '/proc/7/stat', '/sys/fs/cgroup/memory/a:b/memory.stat'])
      assert.equal(host.text(path), one.text(path))
    assert.equal(host.link('/proc/7/exe'), one.link('/proc/7/exe'))
  }
  assert.ok(
    new RecordedHost(facts.slice(0, facts.indexOf('\nz\n') + 2)).isWhole,
    'what has lost its last end of a line',
  )
})

test('of what was being told when the record ended nothing is taken', async () => {
  const last = '{"Version":"28"}\n'
  const asked = facts.slice(0, facts.indexOf(`b${last}`))
  for (const text of [asked, `${asked}b{"Ver`]) {
    const host = new RecordedHost(text)
    assert.equal(host.wasAsked('/run/docker.sock', '/version'), false)
    assert.equal(await host.pause(250, signal), false, 'half a look is none')
    assert.ok(host.text('/proc/8/stat'))
  }
  const silent = new RecordedHost(facts.replace(`b${last}`, ''))
  assert.equal(silent.wasAsked('/run/docker.sock', '/version'), true)
  assert.equal(await silent.ask('/run/docker.sock', '/version'), undefined)
  // The second line of the look ends in the middle of a number.
  const cut = facts.slice(0, facts.indexOf(' 7 7 0\na/run'))
  assert.equal(new RecordedHost(cut).text('/proc/7/stat'), '7 (dockerd) S 1 7 7 0\n')
  assert.throws(() => new RecordedHost(facts.slice(0, facts.indexOf('p100 '))), isCorrupt)
})

test('names are read as the ls of that host has written them', () => {
  const line = 'llrwxrwxrwx 1 0 0 0 Jan  1 00:00 /proc/7/exe -> /a\\ b\\n\\345\\217\\266\\\\n'
  const link = (how: string) =>
    new RecordedHost(`windlass-facts 2\n=ls ${how}\n${line}\nf1\nt/proc/7/stat:7 (x) S 1\nz\n`).link('/proc/7/exe')
  assert.equal(link('-lnb'), '/a b\n叶\\n')
  assert.equal(link('-ln'), '/a\\ b\\n\\345\\217\\266\\\\n')
})

test('what an earlier script wrote is refused with the reason', () => {
  assert.throws(() => new RecordedHost(facts.replace('windlass-facts 2', 'windlass-facts 1')), /an earlier script/)
})

test('whatever stands in the lines, reading them ends', () => {
  const odd = 'windlass-facts 2\nf\nfx\nt\ntnocolon\nl\nl -> \np\ns\nd\nb\nq\n\0\nc\nb\na\nb\nz\n'
  const host = new RecordedHost(odd)
  assert.deepEqual(host.names('/proc'), [])
  assert.deepEqual([host.elapsed(), host.now()], [0, 0])
})

test('a host is ssh://[user@]host[:port], and never an option of ssh', () => {
  assert.deepEqual(parseSshHost('ssh://root@node7:2222'), { user: 'root', name: 'node7', port: 2222 })
  assert.deepEqual(parseSshHost('ssh://[::1]'), { user: undefined, name: '::1', port: undefined })
  for (const text of [
    'node7',
    'ssh://',
    'ssh://-oProxyCommand=x',
    'ssh://-u@h',
    'ssh://h:0',
    'ssh://h:99999',
    'ssh://a b',
    'ssh://h/x',
  ])
    assert.throws(() => parseSshHost(text), isUsage, text)
})

function isCorrupt(error: unknown): boolean {
  return isWindlassError(error, 'CORRUPT')
}

function isUsage(error: unknown): boolean {
  return isWindlassError(error, 'USAGE')
}
