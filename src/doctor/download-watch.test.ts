import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { DownloadWatch } from './download-watch.ts'
import type { FoundEngine } from './engines.ts'
import type { Line } from './lines.ts'
import type { LineWatch } from './sample.ts'

interface Scene {
  readonly looks?: number
  /** The look at which it grew. */
  readonly grewAt?: number
  /** By the file's time, at the last look. */
  readonly idleMs?: number
  /** Of the host and the engine. */
  readonly ageMs?: number
  /** What the data of the engine lie on. */
  readonly filesystem?: string
}

/** What is said of a download of dockerd that does not grow, looked at four times a second. */
async function told({ looks = 24, grewAt = 0, idleMs = 20_000, ageMs = 60_000, filesystem = 'ext4' }: Scene) {
  const host = new FixtureHost({
    links: { '/proc/7/fd/9': '/data/tmp/GetImageBlob1' },
    files: {
      '/proc/7/fdinfo/9': 'pos:\t100\nflags:\t0100002\n',
      '/proc/7/mountinfo': `22 1 0:40 / / rw - ${filesystem} some rw\n`,
      '/proc/uptime': `${(ageMs + 1000) / 1000} 0.00\n`,
    },
  })
  const endMs = (looks - 1) * 250
  Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
  const mtimeMs = 1_000_000 + endMs - idleMs
  Object.assign(host.disk, {
    file: async () => ({ size: host.elapsed() < grewAt * 250 ? 50 : 100, mtimeMs, mode: 0o100600 }),
  })
  const watch = new DownloadWatch(host, [makeEngine(7, { dataRoot: '/data' })])
  for (let at = 0; at < looks; at++) {
    if (at > 0) await host.pause(250)
    await watch.look()
  }
  return watch
    .judge([])
    .map(({ code, confidence }) => `${code} ${confidence}`)
    .join()
}

test('a download is silent that was seen not to grow, and by its time has not for longer', async () => {
  assert.equal(await told({}), 'DOWNLOAD_SILENT likely')
  assert.equal(await told({ idleMs: 14_000 }), 'PULL_WAITS certain')
})

test('what grew goes on, until it has not for as long as a look must be to say something', async () => {
  assert.equal(await told({ grewAt: 4, looks: 24, idleMs: 4750 }), 'PULL_MOVES certain')
  assert.equal(await told({ grewAt: 4, looks: 25, idleMs: 5000 }), 'PULL_WAITS certain')
})

test('a look that was too short accuses nobody, whatever the time of the file says', async () => {
  assert.equal(await told({ looks: 8, idleMs: 3_600_000, ageMs: 9_000_000 }), 'PULL_WAITS certain')
})

test('a time from before the engine began is that of another clock', async () => {
  assert.equal(await told({ idleMs: 50_000, ageMs: 60_000 }), 'DOWNLOAD_SILENT likely')
  assert.equal(await told({ idleMs: 70_000, ageMs: 60_000 }), 'PULL_WAITS certain')
})

test('so is that of a server of files', async () => {
  for (const filesystem of ['nfs4', 'fuse.sshfs']) assert.equal(await told({ filesystem }), 'PULL_WAITS certain')
})

interface LayerScene {
  readonly bytes: number
  readonly idleMs: number
  /** When it was begun, if that was before it was written to. */
  readonly openedMs?: number
  readonly isWhole?: boolean
}

interface Ingest {
  readonly ref?: string
  readonly idleMs?: number
  /** On each connection, since something came on it, in milliseconds. */
  readonly received?: readonly number[]
  /** The first has what nobody has read. */
  readonly unread?: number
  /** How who is connected to the engine is called. */
  readonly connectedAs?: string
  readonly isStopped?: boolean
  readonly isStoppedAtLast?: boolean
  /** The same of what was sent, if not a second more. */
  readonly sent?: readonly number[]
  /** What each brings in a second. */
  readonly speeds?: readonly number[]
  /** Of each, in the same order; the engine listens on 9000. */
  readonly ports?: readonly number[]
  readonly layers?: number
  /** Of each layer, if not 100 bytes that are as old as all. */
  readonly files?: readonly LayerScene[]
  /** Of the descriptors of the first so many of them: they are read, and not written. */
  readonly reread?: number
  /** Who is connected to the engine cannot be seen. */
  readonly isPart?: boolean
  /** The connections are not the engine's, but of somebody who is connected to it. */
  readonly isOfOther?: boolean
}

const digest = '0a'.repeat(32)

/** To the engine, by an agent. */
const connected = `u_str ESTAB 0 0 /run/containerd/containerd.sock 70 * 80 users:(("containerd",pid=7,fd=18))
u_str ESTAB 0 0 * 80 * 70 users:(("agent",pid=8,fd=18))
`

/** What is said of layers in the content store of a containerd, none of which grows while it is looked at. */
async function toldOfIngest({
  ref = `default/1/layer-sha256:${digest}`,
  idleMs = 20_000,
  received,
  unread = 0,
  isStopped = false,
  isStoppedAtLast = isStopped,
  connectedAs = 'agent',
  sent = [],
  speeds = [],
  ports = [],
  layers = 1,
  files = Array.from({ length: layers }, () => ({ bytes: 100, idleMs })),
  reread = 0,
  isPart = false,
  isOfOther = false,
}: Ingest): Promise<string[]> {
  const directories = files.map((_, at) => `/data/io.containerd.content.v1.content/ingest/a${at}`)
  const sockets = (received ?? []).map((_, at) => [`/proc/${isOfOther ? 8 : 7}/fd/${20 + at}`, `socket:[${50 + at}]`])
  const told = (elapsedMs: number) =>
    (received ?? []).map((ms, at) => {
      const bytes = 7_000_000 + ((speeds[at] ?? 0) * elapsedMs) / 1000
      const counters = `cubic bytes_received:${bytes} lastsnd:${sent[at] ?? ms + 1000} lastrcv:${ms} x:2`
      return `${at === 0 ? unread : 0} 0 [::ffff:10.0.0.1]:${ports[at] ?? 40_000 + at} 10.0.0.2:443 ino:${50 + at} sk:1\n\t ${counters}\n`
    })
  const stat = (isInT: boolean) => `8 (${connectedAs}) ${isInT ? 'T' : 'S'} 1 8 8 0 ${'0 '.repeat(46)}`
  const host = new FixtureHost({
    links: {
      ...Object.fromEntries(directories.map((directory, at) => [`/proc/7/fd/${at}`, `${directory}/data`])),
      ...Object.fromEntries(sockets),
      '/proc/7/fd/19': 'socket:[49]',
      '/proc/7/fd/18': 'socket:[70]',
      '/proc/8/fd/18': 'socket:[80]',
      '/proc/self/ns/net': 'net:[1]',
      '/proc/7/ns/net': 'net:[1]',
    },
    files: {
      ...Object.fromEntries(directories.map(directory => [`${directory}/ref`, ref])),
      ...Object.fromEntries(
        files.flatMap(({ bytes, isWhole }, at) => (isWhole ? [[`${directories[at]}/total`, `${bytes}`]] : [])),
      ),
      ...Object.fromEntries(
        files.slice(0, reread).map((_, at) => [`/proc/7/fdinfo/${at}`, 'pos:\t9\nflags:\t0100000\n']),
      ),
      '/proc/uptime': '900.00 0.00\n',
      '/proc/8/stat': stat(isStopped),
    },
  })
  Object.assign(host, {
    tell: async (_: string, args: readonly string[]) => {
      if (received === undefined || (isPart && args[0] === '-xpnH')) return undefined
      if (args[0] === '-xpnH') return connected
      if (args.at(-1) === 'listening') return '0 128 *:9000 *:* ino:49 sk:1\n0 128 *:40000 *:* ino:8 sk:2\n'
      return `${told(host.elapsed()).join('')}0 0 10.0.0.1:5 10.0.0.2:6 ino:9 sk:1\n\t lastrcv:1\n`
    },
  })
  Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
  const file = async (path: string) => {
    const [, at, name] = /\/a(\d+)\/(data|ref)$/.exec(path) ?? []
    const { bytes = 0, idleMs = 0, openedMs = idleMs } = files[Number(at)] ?? {}
    const ageMs = name === 'ref' ? openedMs : idleMs
    return { size: bytes, mtimeMs: 1_000_000 + 24 * 250 - ageMs, mode: 0o100600 }
  }
  Object.assign(host.disk, { file })
  const watch = new DownloadWatch(host, [makeEngine(7, { kind: 'containerd', dataRoot: '/data', dataPath: '/data' })])
  for (let at = 0; at < 24; at++) {
    await watch.look()
    await host.pause(250)
  }
  host.later['/proc/8/stat'] = stat(isStoppedAtLast)
  await host.pause(0)
  await watch.lookCloser(() => readProcessTable(host))
  return watch.judge([]).map(({ code, subject }) => `${code} ${subject}`)
}

test('what a client sends comes from no registry, however long nothing has come', async () => {
  const received = [20_000]
  assert.deepEqual(await toldOfIngest({ received }), ['DOWNLOAD_SILENT containerd 7 ← registry'])
  const ref = `default/1/tar-blobs/sha256/${digest}`
  assert.deepEqual(await toldOfIngest({ received, ref }), ['PULL_WAITS containerd 7 ← client'])
})

test('containerd, which writes in pieces of 1 MiB, is silent where nothing comes on its connections', async () => {
  const codes = async (scene: Ingest) => [...new Set((await toldOfIngest(scene)).map(text => text.split(' ')[0]))]
  assert.deepEqual(await codes({ received: [20_000, 16_000] }), ['DOWNLOAD_SILENT'])
  assert.deepEqual(await codes({ received: [20_000, 200] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ received: [20_000], isOfOther: true }), ['PULL_WAITS'])
  // Nobody was asked for it: the connection is quiet since long before.
  assert.deepEqual(await codes({ received: [600_000] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ idleMs: 800_000, received: [] }), ['PULL_WAITS'])
  // It cannot be seen, or another layer has that connection: then it takes longer.
  assert.deepEqual(await codes({}), ['PULL_WAITS'])
  assert.deepEqual(await codes({ idleMs: 130_000 }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ idleMs: 130_000, received: [200, 125_000], layers: 2 }), ['DOWNLOAD_SILENT'])
  // Each of them has one, and each is at work.
  const two = { received: [200, 300], layers: 2 }
  assert.deepEqual(await codes({ ...two, idleMs: 130_000, speeds: [5000, 7000] }), ['PULL_WAITS'])
  const one = { ...two, received: [200, 125_000] }
  // One of them has, and whose it is cannot be known yet.
  assert.deepEqual(await codes({ ...one, idleMs: 130_000, speeds: [5000] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ ...one, idleMs: 130_000, speeds: [500] }), ['DOWNLOAD_SILENT'])
})

test('a connection that something came on excuses a silence only for as long as a piece of 1 MiB takes on it', async () => {
  const codes = async (scene: Ingest) =>
    (await toldOfIngest({ received: [200], ...scene })).map(text => text.split(' ')[0])
  assert.deepEqual(await codes({ idleMs: 130_000, received: [9000, 129_000] }), ['DOWNLOAD_SILENT'])
  assert.deepEqual(await codes({ idleMs: 130_000, speeds: [100] }), ['DOWNLOAD_SILENT'])
  assert.deepEqual(await codes({ idleMs: 130_000, speeds: [5000] }), ['PULL_WAITS'])
  // It is another one that goes on, and its own is there, too.
  const beside = { idleMs: 850_000, received: [200, 840_000] }
  for (const speed of [5000, 500_000])
    assert.deepEqual(await codes({ ...beside, speeds: [speed] }), ['DOWNLOAD_SILENT'])
  // It has none: nobody was asked for it yet.
  assert.deepEqual(await codes({ idleMs: 850_000, speeds: [500_000] }), ['PULL_WAITS'])
})

test('where not all who are connected to containerd can be seen, what is seen excuses a layer, and one who has not answered is silent', async () => {
  const codes = async (scene: Ingest) =>
    (await toldOfIngest({ isPart: true, ...scene })).map(text => text.split(' ')[0])
  assert.deepEqual(await codes({ received: [20_000] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ idleMs: 130_000, received: [20_000] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ idleMs: 130_000, received: [200], speeds: [6000] }), ['PULL_WAITS'])
  for (const bytes of [0, 1 << 20]) {
    const files = [{ bytes, idleMs: 155_000 }]
    assert.deepEqual(await codes({ files, received: [154_000] }), ['DOWNLOAD_SILENT'])
  }
})

test('layers of containerd that wait until others are there are not silent, for however long they wait', async () => {
  const begun = { bytes: 1 << 20, idleMs: 30_000 }
  const waiting = { bytes: 0, idleMs: 600_000 }
  const codes = async (scene: Ingest) => (await toldOfIngest(scene)).map(text => text.split(' ')[0])
  const files = [begun, begun, waiting, waiting]
  const come = { received: [100, 100], speeds: [30_000, 30_000] }
  assert.deepEqual(
    await codes({ files, ...come }),
    files.map(() => 'PULL_WAITS'),
  )
  // That cannot be seen.
  assert.deepEqual(
    await codes({ files }),
    files.map(() => 'PULL_WAITS'),
  )
  // Somebody has been asked, and has not answered.
  const asked = await codes({ files, received: [...come.received, 90_000], speeds: come.speeds })
  assert.deepEqual(asked, ['PULL_WAITS', 'PULL_WAITS', 'DOWNLOAD_SILENT', 'DOWNLOAD_SILENT'])
  // It was asked for just now, since others are there.
  assert.deepEqual(await codes({ files: [waiting], received: [100], speeds: [30_000] }), ['PULL_WAITS'])
  assert.deepEqual(await codes({ files: [waiting], received: [20_000] }), ['DOWNLOAD_SILENT'])
})

test('who has just asked has no answer yet, and who makes a layer durable may ask for nothing else', async () => {
  const codes = async (scene: Ingest) => (await toldOfIngest(scene)).map(text => text.split(' ')[0])
  const files = [{ bytes: 0, idleMs: 300_000 }]
  assert.deepEqual(await codes({ files, received: [20_000] }), ['DOWNLOAD_SILENT'])
  assert.deepEqual(await codes({ files, received: [20_000], sent: [500] }), ['PULL_WAITS'])
  const whole = { bytes: 1 << 20, idleMs: 25_000, isWhole: true }
  assert.deepEqual(await codes({ files: [...files, whole], received: [20_000] }), ['PULL_WAITS'])
})

test('a client that is stopped is named, and no registry, where it does not read what has come', async () => {
  const scene = { received: [20_000], unread: 249_856, isOfOther: true, connectedAs: 'ctr' }
  const [waits, silent] = ['PULL_WAITS containerd 7 ← registry', 'DOWNLOAD_SILENT containerd 7 ← registry']
  const named = [waits, 'CLIENT_STOPPED ctr 8']
  assert.deepEqual(await toldOfIngest(scene), [waits])
  assert.deepEqual(await toldOfIngest({ ...scene, isStopped: true }), named)
  // Who is held back now and then is stopped for moments.
  assert.deepEqual(await toldOfIngest({ ...scene, isStoppedAtLast: true }), [waits])
  // Also where only a connection is left that it keeps.
  assert.deepEqual(await toldOfIngest({ ...scene, unread: 0 }), [silent])
  assert.deepEqual(await toldOfIngest({ ...scene, unread: 0, isStopped: true }), named)
  assert.deepEqual(await toldOfIngest({ received: [20_000], unread: 250_000 }), [waits])
  // What who only writes never reads.
  assert.deepEqual(await toldOfIngest({ received: [20_000], unread: 510 }), [silent])
  // Nobody knows that it downloads.
  assert.deepEqual(await toldOfIngest({ ...scene, connectedAs: 'python3', isStopped: true }), [waits])
})

test('what an earlier pull of containerd has left is read before anybody is asked for the rest', async () => {
  const codes = async (scene: Ingest) => (await toldOfIngest(scene)).map(text => text.split(' ')[0])
  const scene = { idleMs: 600_000, received: [20_000], reread: 1 }
  assert.deepEqual(await codes(scene), ['PULL_WAITS'])
  assert.deepEqual(await codes({ ...scene, reread: 0 }), ['DOWNLOAD_SILENT'])
  // A slow one beside it has the connection.
  const beside = {
    ...scene,
    files: [
      { bytes: 100, idleMs: 600_000 },
      { bytes: 100, idleMs: 150_000 },
    ],
  }
  assert.deepEqual(await codes({ ...beside, received: [100], speeds: [6000] }), ['PULL_WAITS', 'PULL_WAITS'])
})

test('of layers of containerd that are slower than others each is held against a connection that is as slow', async () => {
  const files = [
    { bytes: 0, idleMs: 160_000 },
    { bytes: 1 << 20, idleMs: 150_000 },
    { bytes: 1 << 20, idleMs: 40_000 },
    { bytes: 1 << 20, idleMs: 10_000 },
  ]
  const codes = async (speeds: number[], received = [100, 100, 100, 12_000]) =>
    (await toldOfIngest({ files, received, speeds })).map(text => text.split(' ')[0])
  assert.deepEqual(
    await codes([6000, 6000, 25_000, 0]),
    files.map(() => 'PULL_WAITS'),
  )
  // Of what has not begun nobody knows whether it waits.
  const silent = await codes([0, 90_000, 90_000, 0], [140_000, 100, 100, 12_000])
  assert.deepEqual(silent.slice(0, 2), ['PULL_WAITS', 'DOWNLOAD_SILENT'])
  // An answer that leads elsewhere may have come on it.
  assert.deepEqual((await codes([100, 90_000, 90_000, 0])).slice(0, 2), ['PULL_WAITS', 'PULL_WAITS'])
})

test('what others have connected to the engine excuses no silence', async () => {
  const received = [20_000, 200]
  const codes = async (ports: number[]) => (await toldOfIngest({ received, ports })).map(text => text.split(' ')[0])
  assert.deepEqual(await codes([50_001, 9000]), ['DOWNLOAD_SILENT'])
  // Another process listens there.
  assert.deepEqual(await codes([50_001, 40_000]), ['PULL_WAITS'])
})

interface Unpacking {
  /** Lines of an untar without a decompressor, by what they unpack to. */
  readonly targets?: readonly string[]
  /** How many layers of pulls the engine says that it unpacks. */
  readonly told?: number
  /** How many it says that it downloads. */
  readonly downloading?: number | undefined
  /** Of a file of its own, 100 bytes long, that another descriptor is in. */
  readonly position?: number
  readonly flags?: string
  /** What else it has open. */
  readonly other?: string
  readonly name?: string
  /** Of the file, if it is not 100 bytes long, and what decompressors have taken. */
  readonly size?: number
  readonly piped?: readonly object[]
}

/** What is said of a file of dockerd at whose end it stands, while it unpacks. */
async function toldWhile({
  targets = [],
  told,
  downloading,
  position,
  flags = '0100002',
  other,
  name = '/data/tmp/GetImageBlob1',
  size = 100,
  piped = [],
}: Unpacking): Promise<string> {
  const files: Record<string, string> = {
    '/proc/7/fdinfo/9': `pos:\t${size}\nflags:\t${flags}\n`,
    '/proc/uptime': '900.00 0.00\n',
  }
  const links: Record<string, string> = { '/proc/7/fd/9': name }
  if (position !== undefined) {
    files['/proc/7/fdinfo/8'] = `pos:\t${position}\nflags:\t0100002\n`
    links['/proc/7/fd/8'] = '/data/tmp/GetImageBlob0'
  }
  if (other !== undefined) links['/proc/7/fd/7'] = other
  const host = new FixtureHost({ links, files })
  Object.assign(host, { now: () => 1_000_000 + host.elapsed() })
  Object.assign(host.disk, { file: async () => ({ size, mtimeMs: 980_000, mode: 0o100600 }) })
  const engine: FoundEngine = makeEngine(7, { dataRoot: '/data' })
  const watch = new DownloadWatch(host, [engine])
  for (let at = 0; at < 24; at++) {
    await watch.look()
    await host.pause(250)
  }
  const dump = told === undefined ? undefined : { waiting: 1, unpackingOfPulls: told, downloading }
  const line = (target: string) => ({ engine, target, untarName: 'docker-untar' }) as Line
  const open = targets.map(target => ({ line: line(target), looks: [] }) as unknown as LineWatch)
  const decompressing = piped.map(one => ({ ...one, line: { ...one, engine } }) as unknown as LineWatch)
  return watch
    .judge([...open, ...decompressing], new Set(), () => dump)
    .map(({ code }) => code)
    .join()
}

test('a file that was read to its end and is unpacked is no silent download, however slowly', async () => {
  assert.equal(await toldWhile({}), 'DOWNLOAD_SILENT')
  assert.equal(await toldWhile({ targets: ['/data/overlay2/a/diff'] }), '')
  assert.equal(await toldWhile({ told: 1 }), '')
  // In a directory that DOCKER_TMPDIR names.
  assert.equal(await toldWhile({ name: '/mnt/scratch/GetImageBlob1' }), 'DOWNLOAD_SILENT')
  // Opened anew, to read.
  assert.equal(await toldWhile({ flags: '0100000' }), '')
})

test('a file of dockerd is not silent while the engine says that it downloads none that does not grow', async () => {
  // Not all may have been counted.
  for (const downloading of [1, undefined]) assert.equal(await toldWhile({ told: 0, downloading }), 'DOWNLOAD_SILENT')
  // Its connection has broken, and it waits for its next try.
  assert.equal(await toldWhile({ told: 0, downloading: 0 }), 'PULL_WAITS')
})

test('what another decompressor has taken excuses no silence', async () => {
  const lines = (...handed: number[]) =>
    handed.map(bytesIn => {
      const looks = [{ sample: { stages: [{ kind: 'decompress', bytesIn }] } }]
      return { decompressor: [{}], looks }
    })
  const size = 3_000_000
  assert.equal(await toldWhile({ size, piped: lines(size + 6000), told: 1 }), '')
  assert.equal(await toldWhile({ size, piped: lines(9_000_000), told: 0 }), 'DOWNLOAD_SILENT')
  // It has just come by there, in a file of its own.
  assert.equal(await toldWhile({ size, piped: lines(size + 6000), told: 1, position: size - 500 }), 'DOWNLOAD_SILENT')
  assert.equal(await toldWhile({ size, piped: lines(size, size + 6000), told: 2, position: size - 500 }), '')
})

test('what is unpacked from another file, or for a client, excuses no silence', async () => {
  const targets = ['/data/overlay2/a/diff']
  assert.equal(await toldWhile({ targets, position: 50 }), 'DOWNLOAD_SILENT')
  assert.equal(await toldWhile({ told: 1, position: 50 }), 'DOWNLOAD_SILENT')
  for (const target of ['/data/tmp/docker-import-12', '/data/tmp/docker-builder12', '/data/overlay2/a/merged'])
    assert.equal(await toldWhile({ targets: [target] }), 'DOWNLOAD_SILENT', target)
  // An import of a plain tar is unpacked like a layer: the engine tells whose it is.
  assert.equal(await toldWhile({ targets, told: 0 }), 'DOWNLOAD_SILENT')
  for (const other of ['/data/tmp/docker-import-12/1a/layer.tar', '/data/containerd/content/blobs/sha256/1a']) {
    assert.equal(await toldWhile({ targets, other }), 'DOWNLOAD_SILENT', other)
    assert.equal(await toldWhile({ told: 0, other }), 'DOWNLOAD_SILENT', other)
  }
  // Two files at whose end it stands, and one of them unpacked.
  assert.equal(await toldWhile({ targets, position: 100 }), 'DOWNLOAD_SILENT')
})
