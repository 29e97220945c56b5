/** What waits in a queue, or holds a place in one: as a host would show it that no test may make. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { credentialHelpers } from './credential-helpers.ts'
import { downloadSlots } from './download-slots.ts'
import { ingestLocks } from './ingest-locks.ts'

const stat = (pid: number, name: string, parent: number, startTicks: number) =>
  `${pid} (${name}) S ${parent} ${'0 '.repeat(17)}${startTicks} 0 0\n`

test('a helper for credentials that runs for long is named, with who waits for it; a young one is not', async () => {
  const files = (startTicks: number) => ({
    '/proc/uptime': '1000.00 0.00\n',
    '/proc/8/stat': stat(8, 'docker', 1, 5000),
    '/proc/9/stat': stat(9, 'docker-credenti', 8, startTicks),
  })
  const look = (startTicks: number) => runCheck(credentialHelpers, new FixtureHost({ files: files(startTicks) }))
  const [finding] = await look(93_500)
  assert.equal(finding?.code, 'CREDENTIAL_HELPER_SILENT')
  assert.deepEqual(finding?.evidence, ['docker-credenti (process 9) runs for 65 s, and docker 8 waits for it'])
  assert.deepEqual(codesOf(await look(99_800)), [])
})

/** A dockerd that has so many files of layers open, each at its end. */
function dockerWith(count: number, daemonFile: string) {
  const numbers = Array.from({ length: count }, (_, at) => at + 10)
  return new FixtureHost({
    files: {
      '/etc/docker/daemon.json': daemonFile,
      ...Object.fromEntries(numbers.map(fd => [`/proc/7/fdinfo/${fd}`, 'pos:\t4\nflags:\t0100002\n'])),
      ...Object.fromEntries(numbers.map(fd => [`/proc/7/fd/${fd}`, 'data'])),
    },
    links: Object.fromEntries(numbers.map(fd => [`/proc/7/fd/${fd}`, `/var/lib/docker/tmp/GetImageBlob${fd}`])),
  })
}

test('the places for downloads are full where all that may be are silent, by the number that the daemon has', async () => {
  const look = async (count: number, file: string, args = ['dockerd']) =>
    codesOf(await runCheck(downloadSlots, dockerWith(count, file), { engines: [makeEngine(7, { args })] }))
  assert.deepEqual(await look(3, '{}'), ['DOWNLOAD_SLOTS_FULL'])
  assert.deepEqual(await look(2, '{}'), [])
  assert.deepEqual(await look(3, '{"max-concurrent-downloads": 5}'), [])
  assert.deepEqual(await look(5, '{"max-concurrent-downloads": 5}'), ['DOWNLOAD_SLOTS_FULL'])
  assert.deepEqual(await look(1, '{}', ['dockerd', '--max-concurrent-downloads=1']), ['DOWNLOAD_SLOTS_FULL'])
})

test('files whose times are old by a clock that was set, and that grow, take no places', async () => {
  const host = dockerWith(3, '{}')
  for (const fd of [10, 11, 12])
    Object.assign(host.later, {
      [`/proc/7/fd/${fd}`]: 'data, and more',
      [`/proc/7/fdinfo/${fd}`]: 'pos:\t14\nflags:\t0100002\n',
    })
  assert.deepEqual(codesOf(await runCheck(downloadSlots, host, { engines: [makeEngine(7)] })), [])
})

test('a layer is locked where containerd has it open and no connection at all', async () => {
  const directory = '/var/lib/containerd/io.containerd.content.v1.content/ingest/ab'
  const line = (inode: number) =>
    `   0: 0100007F:1234 0200630A:1388 01 00000000:00000000 01:00000100 0 0 0 ${inode} 1\n`
  const look = async (
    connection: string,
    client: Readonly<Record<string, string>> = {},
    tells = { 'ss -xpnH': '' },
  ) => {
    const files = {
      [`${directory}/data`]: 'some',
      [`${directory}/ref`]: `default/7/layer-sha256:${'a'.repeat(64)}`,
      '/proc/7/net/tcp': `  sl\n${connection}`,
      '/proc/8/net/tcp': `  sl\n${connection}`,
      ...client,
    }
    const links = { '/proc/7/fd/3': `${directory}/data`, '/proc/7/fd/4': 'socket:[11]', '/proc/8/fd/4': 'socket:[12]' }
    const engine = makeEngine(7, {
      kind: 'containerd',
      sockets: ['/run/containerd/containerd.sock'],
      dataRoot: '/var/lib/containerd',
      dataPath: '/var/lib/containerd',
    })
    return await runCheck(ingestLocks, new FixtureHost({ files, links, tells }), { engines: [engine] })
  }
  const [locked] = await look(line(99))
  assert.equal(locked?.code, 'INGEST_LOCKED')
  assert.equal(locked?.severity, 'warning')
  assert.match(locked?.evidence[0] ?? '', /^default\/7\/layer-sha256:a{64} is open with 4 bytes/)
  assert.deepEqual(codesOf(await look(line(11))), [])
  // A ctr of 1.6 downloads by itself, and containerd writes what it is given.
  assert.deepEqual(codesOf(await look(line(12), { '/proc/8/stat': stat(8, 'ctr', 1, 5) })), [])
  // And so may do what has another name, and is connected to it.
  const pair = 'u_str ESTAB 0 0 /run/containerd/containerd.sock 11 * 12\nu_str ESTAB 0 0 * 12 * 11 '
  const connected = { 'ss -xpnH': `${pair}users:(("host-ctr",pid=8,fd=4))` }
  const hostCtr = { '/proc/8/stat': stat(8, 'host-ctr', 1, 5) }
  assert.deepEqual(codesOf(await look(line(12), hostCtr, connected)), [])
  const [unseen] = await look(line(12), hostCtr, { 'ss -xpnH': pair })
  assert.deepEqual([unseen?.code, unseen?.severity], ['INGEST_LOCKED', 'note'])
  const toAnother = { '/proc/8/stat': stat(8, 'ctr', 1, 5), '/proc/8/cmdline': 'ctr\0-a\0/other.sock\0' }
  for (const other of [{ '/proc/8/stat': stat(8, 'sshd', 1, 5) }, toAnother])
    assert.deepEqual(codesOf(await look(line(12), other)), ['INGEST_LOCKED'])
  // It reads what an earlier pull has left, and asks for the rest after that.
  assert.deepEqual(codesOf(await look(line(99), { '/proc/7/fdinfo/3': 'pos:\t2\nflags:\t0100000\n' })), [])
})
