import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { readConnections } from './connections.ts'

const established = 'ss -tneiH state established'
const listening = 'ss -tneiH state listening'
const quiet =
  '0 0 10.0.0.1:40000 10.0.0.2:443 ino:50 sk:1\n\t cubic bytes_received:12 lastsnd:601000 lastrcv:600000 x:2\n'

interface Scene {
  readonly tells?: Readonly<Record<string, string>>
  readonly links?: Readonly<Record<string, string>>
  readonly client?: string
  readonly kind?: 'containerd' | 'buildkitd'
  readonly isRecord?: boolean
}

/** What is read of the connections of a containerd, to which a ctr speaks. */
async function read({ tells = {}, links = {}, client = 'ctr', kind = 'containerd', isRecord = false }: Scene) {
  const stat = (pid: number, name: string) => `${pid} (${name}) S 1 ${pid} ${pid} 0 ${'0 '.repeat(46)}`
  const host = new FixtureHost({
    files: { '/proc/7/stat': stat(7, 'containerd'), '/proc/8/stat': stat(8, client) },
    links: { '/proc/7/fd/3': 'socket:[50]', ...links },
    tells: { [established]: quiet, [listening]: '', ...tells },
  })
  if (isRecord) Object.assign(host, { network: undefined })
  const engine = makeEngine(7, { kind, sockets: ['/run/containerd/containerd.sock'] })
  return await readConnections(host, engine, readProcessTable(host))
}

const ofClient = { '/proc/8/fd/3': 'socket:[51]' }

test('connections are known by the sockets of the engine and of who writes into it', async () => {
  const holder = { pid: 7, name: 'containerd', state: 'S' }
  const known = {
    socket: '50',
    remotePort: '443',
    unread: 0,
    holder,
    idleMs: 600_000,
    sentMs: 601_000,
    bytes: 12,
    isOwn: true,
    keptMs: 30_000,
  }
  assert.deepEqual(await read({ links: ofClient }), { all: [known], isWhole: true })
  const both = `${quiet}${quiet.replace('ino:50', 'ino:51').replace('lastrcv:600000', '')}`
  const ofCtr = { pid: 8, name: 'ctr', state: 'S' }
  const all = [known, { ...known, socket: '51', idleMs: 0, holder: ofCtr }]
  assert.deepEqual(await read({ links: ofClient, tells: { [established]: both } }), { all, isWhole: true })
})

test('of a client whose descriptors nobody tells, or who is in another network, it is told that they are not seen', async () => {
  assert.deepEqual((await read({}))?.isWhole, false)
  const apart = { '/proc/self/ns/net': 'net:[1]', '/proc/7/ns/net': 'net:[1]', '/proc/8/ns/net': 'net:[2]' }
  const seen = await read({ links: { ...ofClient, ...apart } })
  assert.deepEqual([seen?.all.length, seen?.isWhole], [1, false])
})

test('buildkit, whose way to registries dockerd has, keeps them for longer', async () => {
  const links = { ...ofClient, '/proc/8/fd/3': 'socket:[50]', '/proc/7/fd/3': 'socket:[52]' }
  const seen = async (scene: Scene) => (await read({ links, ...scene }))?.all.map(({ keptMs }) => keptMs)
  assert.deepEqual(await seen({}), [30_000])
  assert.deepEqual(await seen({ client: 'dockerd' }), [120_000])
  assert.deepEqual(await seen({ kind: 'buildkitd', links: {} }), [120_000])
})

test('what sends more than it brings is none of them, and what is sent again was sent before', async () => {
  const seen = async (counters: string) => {
    const one = await read({ links: ofClient, tells: { [established]: quiet.replace(/cubic.*x:2/, counters) } })
    return one?.all.map(({ idleMs, sentMs }) => [idleMs, sentMs])
  }
  assert.deepEqual(await seen('bytes_sent:65536 bytes_received:9000 lastsnd:70000 lastrcv:80000'), [])
  assert.deepEqual(await seen('bytes_acked:65537 bytes_received:9000 lastsnd:70000 lastrcv:80000'), [])
  assert.deepEqual(await seen('bytes_sent:9000 bytes_received:5000 lastsnd:70000 lastrcv:80000'), [[80_000, 70_000]])
  assert.deepEqual(await seen('bytes_sent:70000 bytes_received:80000 lastsnd:7 lastrcv:80000'), [[80_000, 7]])
  // A connection that is kept for 30 s was asked again in that time.
  assert.deepEqual(await seen('backoff:4 bytes_received:5000 lastsnd:9000 lastrcv:80000'), [[80_000, 50_000]])
  assert.deepEqual(await seen('backoff:4 bytes_sent:90 lastsnd:9000 lastrcv:80000'), [[80_000, 80_000]])
  assert.deepEqual(await seen('backoff:1 bytes_received:5000 lastsnd:300 lastrcv:9000'), [[9000, 300]])
})

test('what has come and is not read is counted, and what the kernel leaves out is none', async () => {
  const [silent] =
    (await read({ links: ofClient, tells: { [established]: quiet.replace('bytes_received:12', 'bytes_acked:1') } }))
      ?.all ?? []
  assert.equal(silent?.bytes, 0)
  const [old] =
    (await read({ links: ofClient, tells: { [established]: quiet.replace('bytes_received:12', '') } }))?.all ?? []
  assert.equal(old?.bytes, undefined)
  const [unread] = (await read({ links: ofClient, tells: { [established]: quiet.replace(/^0/, '249856') } }))?.all ?? []
  assert.equal(unread?.unread, 249_856)
})

test('they are unknown where an answer was cut, or a record has none', async () => {
  const others = quiet
    .replace('ino:50', 'ino:9')
    .repeat(12_000)
    .slice(0, 1024 * 1024 - quiet.length)
  assert.equal(await read({ links: ofClient, tells: { [established]: quiet + others } }), undefined)
  const none = { links: ofClient, tells: { [established]: '' } }
  assert.equal(await read({ ...none, isRecord: true }), undefined)
  assert.deepEqual(await read(none), { all: [], isWhole: true })
})

test('those of who is connected to containerd are known, too, whatever its name, and that somebody is who cannot be seen', async () => {
  const pair = 'u_str ESTAB 0 0 /run/containerd/containerd.sock 60 * 61\nu_str ESTAB 0 0 * 61 * 60'
  const links = {
    ...ofClient,
    ...{ '/proc/7/fd/4': 'socket:[60]', '/proc/9/fd/3': 'socket:[61]', '/proc/9/fd/4': 'socket:[52]' },
  }
  const both = quiet + quiet.replace('ino:50', 'ino:52').replace('lastrcv:600000', 'lastrcv:20')
  const told = (holder: string) => ({ [established]: both, 'ss -xpnH': `${pair} ${holder}` })
  const seen = await read({ links, tells: told('users:(("host-ctr",pid=9,fd=3))') })
  assert.deepEqual(
    seen?.all.map(({ socket, idleMs, isOwn }) => [socket, idleMs, isOwn]),
    [
      ['50', 600_000, true],
      ['52', 20, false],
    ],
  )
  const part = await read({ links, tells: told('') })
  assert.deepEqual([part?.all.map(({ socket }) => socket), part?.isWhole], [['50'], false])
})
