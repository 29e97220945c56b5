import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { findWriters } from './writers.ts'

const socket = '/run/containerd/containerd.sock'
const stat = (pid: number, name: string, parent = 1) => `${pid} (${name}) S ${parent} ${'0 '.repeat(46)}`
/** A line of `ss -xpn`: who holds the socket is told as `name=pid/fd`. */
const line = (path: string, inode: number, peer: number, ...holders: string[]) => {
  const users = holders.map(holder => holder.replace(/^(.*)=(\d+)\/(\d+)$/, '("$1",pid=$2,fd=$3)')).join(',')
  return `u_str ESTAB 0      0     ${path} ${inode} * ${peer} ${users === '' ? '' : `users:(${users})`}   \n`
}
const descriptor = (pid: number, fd: number, inode: number) => ({ [`/proc/${pid}/fd/${fd}`]: `socket:[${inode}]` })

/** Who may write into containerd 7, which has accepted 70; the other end of that is 80. */
async function writersOf(
  names: Readonly<Record<number, string>>,
  told: string | undefined,
  links: Readonly<Record<string, string>> = {},
) {
  const processes = Object.entries({ 7: 'containerd', ...names })
  const host = new FixtureHost({
    files: {
      ...Object.fromEntries(processes.map(([pid, name]) => [`/proc/${pid}/stat`, stat(Number(pid), name)])),
      '/proc/7/net/unix': `0: 00000003 00000000 00000000 0001 03 70 ${socket}\n`,
    },
    links: { ...descriptor(7, 5, 70), ...links },
    tells: { 'ss -xpnH': told },
  })
  return await findWriters(host, makeEngine(7, { kind: 'containerd', sockets: [socket] }), readProcessTable(host))
}

const accepted = line(socket, 70, 80, 'containerd=7/5')

test('who is connected to a socket of containerd may write into it, whatever its name', async () => {
  const told = accepted + line('*', 80, 70, 'host-ctr=8/3')
  assert.deepEqual(await writersOf({ 8: 'host-ctr' }, told, descriptor(8, 3, 80)), { pids: [8], isWhole: true })
  for (const nobody of ['', line(socket, 70, 0, 'containerd=7/5')])
    assert.deepEqual(await writersOf({ 8: 'host-ctr' }, nobody), { pids: [], isWhole: true })
  // A process may be called by what another one holds, and hold one that is called by it.
  const forged = accepted + line('*', 80, 70, 'x",pid=9,fd=3),("y=8/3') + line('/x users:((', 80, 70, 'z=9/3')
  assert.deepEqual((await writersOf({ 8: 'x', 9: 'other' }, forged, descriptor(8, 3, 80))).pids, [8])
})

test('what a kubelet, a shim or a client of containerd on another socket is sent is no layer', async () => {
  for (const name of ['kubelet', 'k3s-server', 'crictl', 'containerd-shim'])
    assert.deepEqual(
      await writersOf({ 8: name }, accepted + line('*', 80, 70, `${name}=8/3`), descriptor(8, 3, 80)),
      { pids: [], isWhole: true },
      name,
    )
  const others =
    line(`${socket}.ttrpc`, 70, 80, 'containerd=7/5') +
    line('*', 80, 70, 'x=8/3') +
    line('/run/docker.sock', 71, 81, 'dockerd=9/5') +
    line('*', 81, 71, 'y=8/4')
  const held = { ...descriptor(8, 3, 80), ...descriptor(8, 4, 81) }
  assert.deepEqual(await writersOf({ 8: 'x' }, others, held), { pids: [], isWhole: true })
  // What it has made itself, to a snapshotter.
  const own = line('*', 70, 80, 'containerd=7/5') + line('/run/snapshotter.sock', 80, 70, 'snapshotter=8/3')
  assert.deepEqual(await writersOf({ 8: 'snapshotter' }, own, descriptor(8, 3, 80)), { pids: [], isWhole: true })
})

test('where not all who are connected can be seen that is told, and what has a known name counts', async () => {
  const names = { 8: 'ctr', 9: 'host-ctr' }
  assert.deepEqual(await writersOf(names, undefined), { pids: [8], isWhole: false })
  assert.deepEqual(await writersOf(names, accepted), { pids: [8], isWhole: false })
  assert.deepEqual(await writersOf(names, accepted + line('*', 80, 70)), { pids: [8], isWhole: false })
  const moved = accepted + line('*', 80, 70, 'host-ctr=9/3')
  assert.deepEqual(await writersOf(names, moved, descriptor(9, 3, 99)), { pids: [8], isWhole: false })
  const many = moved + ' '.repeat(1024 * 1024)
  assert.deepEqual(await writersOf(names, many, descriptor(9, 3, 80)), { pids: [8], isWhole: false })
  const ofAnotherNetwork = { ...descriptor(9, 3, 80), ...descriptor(7, 6, 71) }
  assert.deepEqual(await writersOf(names, moved, ofAnotherNetwork), { pids: [8, 9], isWhole: false })
  const apart = { '/proc/7/ns/net': 'net:[2]', '/proc/self/ns/net': 'net:[1]' }
  assert.deepEqual(await writersOf(names, '', apart), { pids: [8], isWhole: false })
})
