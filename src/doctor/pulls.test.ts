/** Pulls of an engine that downloads and decompresses at once, as a collector would write them down. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codesOf, makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { RecordedHost } from '../sys/recorded-host.ts'
import { diagnose } from './diagnose.ts'
import { examinePulls } from './pulls.ts'

const stat = (pid: number, name: string, parent: number, userTicks = 0) =>
  `${pid} (${name}) S ${parent} ${pid} ${pid} ${'0 '.repeat(7)}${userTicks} ${'0 '.repeat(5)}1 0 100 ${'0 '.repeat(20)}`
const now = 1_800_000_000
/** As containers/image names it, and as it did before. */
const blobs = ['/var/tmp/container_images_storage1/1', '/var/tmp/storage3832830412/1']
const fd = (number: number, target: string) => `llr-x------ 1 root root 64 Jan  1 00:00 ${number} -> ${target}`

interface Moment {
  readonly hasPigz: boolean
  /** Of the file that the layer is kept in. */
  readonly bytes: number
  readonly idleSeconds: number
}

/** Half a minute after the boot, ten seconds of a podman that pulls. @param at what is so in a look */
function podman(
  at: (look: number) => Moment,
  blob = blobs[0] ?? '',
  connections: readonly string[] = [],
  words: readonly string[] = [],
): RecordedHost {
  const frames = Array.from({ length: 40 }, (_, look) => {
    const { hasPigz, bytes, idleSeconds } = at(look)
    const file = ['l/proc/7/fd:', fd(9, 'pipe:[1]'), fd(8, 'pipe:[2]'), fd(5, blob)]
    const pigz = [
      ...[`t/proc/8/stat:${stat(8, 'pigz', 7)}`, `t/proc/8/task/8/stat:${stat(8, 'pigz', 7)}`],
      ...['t/proc/8/task/8/syscall:0 0x0 0x0', 't/proc/8/task/8/io:rchar: 0', 't/proc/8/task/8/wchan:pipe_read'],
      ...[
        `t/proc/8/io:rchar: ${bytes}`,
        't/proc/8/io:wchar: 5000',
        'l/proc/8/fd:',
        fd(0, 'pipe:[1]'),
        fd(1, 'pipe:[2]'),
      ],
      ...['p0 65536 /proc/8/fd/0', 'p0 65536 /proc/8/fd/1'],
      ...['t/proc/7/fdinfo/9:pos:	0', 't/proc/7/fdinfo/9:flags:	0100001', `t/proc/7/fdinfo/5:pos:	${bytes}`],
      ...['t/proc/7/fdinfo/5:flags:	0100002', `s${bytes} ${now - idleSeconds} 81a4 /proc/7/fd/5`],
      ...file,
    ]
    return [
      `f${30 + look / 4}`,
      `t/proc/7/stat:${stat(7, 'podman', 1)}`,
      `t/proc/7/task/7/stat:${stat(7, 'podman', 1)}`,
      `t/proc/7/io:rchar: ${4096 + look}`, // it draws its progress
      't/proc/7/io:wchar: 4096',
      ...(hasPigz ? pigz : ['l/proc/7/fd:', fd(4, 'socket:[3]')]),
    ]
  })
  const head = [
    'windlass-facts 2',
    '=arch x86_64',
    `=now ${now} 30.00`,
    'c/proc/7/cmdline',
    'bpodman',
    ...words.map(word => `b${word}`),
    'bpull',
    'br/x',
  ]
  const known = ['c/proc/7/environ', 'bPATH=/usr/bin', 'c/proc/8/cmdline', 'bpigz', 'b-d']
  return new RecordedHost([...head, ...known, ...frames.flat(), ...connections, 'z', ''].join('\n'))
}

async function pullCodes(host: RecordedHost): Promise<string[]> {
  const { findings } = await diagnose(host, { signal: new AbortController().signal })
  return findings.filter(({ code }) => /PULL|DOWNLOAD_|FEED/.test(code)).map(({ code }) => code)
}

test('a registry that has said nothing for so long is silent, and one that just paused is not', async () => {
  const starved = (idleSeconds: number, blob?: string) =>
    podman(() => ({ hasPigz: true, bytes: 100_000, idleSeconds }), blob)
  for (const blob of blobs) assert.deepEqual(await pullCodes(starved(20, blob)), ['DOWNLOAD_SILENT'], blob)
  assert.deepEqual(new Set(await pullCodes(starved(3))), new Set(['PULL_WAITS']))
})

test('a file that grew is no silence, whatever its time says', async () => {
  for (const idleSeconds of [3600, 20, 0, -3600]) {
    const growing = podman(look => ({ hasPigz: true, bytes: 100_000 + (look < 2 ? 0 : 10), idleSeconds }))
    // Its pipeline shows nothing, and its file grew more than five seconds ago.
    assert.deepEqual(new Set(await pullCodes(growing)), new Set(['PULL_WAITS']), String(idleSeconds))
  }
})

test('a time of a file that the clocks contradict is no evidence', async () => {
  const still = (idleSeconds: (look: number) => number) =>
    podman(look => ({ hasPigz: true, bytes: 100_000, idleSeconds: idleSeconds(look) }))
  // In the future; a clock that was set meanwhile.
  for (const idleSeconds of [() => -60, (look: number) => (look < 4 ? 0 : 3600)])
    assert.deepEqual(new Set(await pullCodes(still(idleSeconds))), new Set(['PULL_WAITS']))
})

test('what comes slowly is no silence', async () => {
  const slow = podman(look => ({ hasPigz: true, bytes: 100_000 + look * 10, idleSeconds: 0 }))
  assert.deepEqual(new Set(await pullCodes(slow)), new Set(['PULL_MOVES']))
})

test('a command that pulls and shows nothing of it waits: it is not said that nobody pulls', async () => {
  const asking = podman(() => ({ hasPigz: false, bytes: 0, idleSeconds: 0 }))
  assert.deepEqual(await pullCodes(asking), ['PULL_WAITS'])
})

test('a command whose connection has been quiet for longer than any is kept has asked, and has no answer', async () => {
  const codes = async (counters: string, { port = 443, words = [] }: { port?: number; words?: string[] } = {}) => {
    const connections = ['ass -tneiH state established', `b0 0 *:5 *:${port} ino:3`, `b ${counters}`]
    const listening = ['ass -tneiH state listening', 'b']
    const none = () => ({ hasPigz: false, bytes: 0, idleSeconds: 0 })
    return await pullCodes(podman(none, '', [...connections, ...listening], words))
  }
  assert.deepEqual(await codes('lastsnd:121000 lastrcv:121002'), ['PULL_UNANSWERED'])
  // It may be kept for the next question, have just asked, or have had its answer.
  for (const counters of ['lastsnd:60000 lastrcv:60000', 'lastsnd:1000 lastrcv:50000', 'lastsnd:150000 lastrcv:125000'])
    assert.deepEqual(await codes(counters), ['PULL_WAITS'])
  // Whatever the port is: it has connections for nothing else.
  const asked = 'lastsnd:121000 lastrcv:121002'
  for (const words of [[], ['--max-workers', '2']])
    assert.deepEqual(await codes(asked, { port: 8443, words }), ['PULL_UNANSWERED'])
  // Another podman is asked, on this host or another.
  for (const words of [['--remote'], ['--url', 'tcp://127.0.0.1:443'], ['--max-workers', '2', '--remote']])
    assert.deepEqual(await codes(asked, { words }), ['PULL_WAITS'])
})

interface Starved {
  /** What the engine has open beside its end of the pipe. */
  readonly open?: string
  /** How much is read meanwhile. */
  readonly moved?: number
  /** The engine has closed its end. */
  readonly isClosed?: true
  readonly isStopped?: true
}

/** What is said of a dockerd whose gzip, or whose untar, has an empty pipe before it and waits. */
async function starved(
  child: readonly string[],
  { open, moved = 0, isClosed, isStopped }: Starved = {},
): Promise<string> {
  const own = stat(8, child[0] ?? '', 7).replace(') S', isStopped ? ') T' : ') S')
  const isUntar = child[0]?.startsWith('docker-') === true
  const host = new FixtureHost({
    files: {
      '/proc/7/stat': stat(7, 'dockerd', 1),
      '/proc/7/task/7/stat': stat(7, 'dockerd', 1),
      '/proc/7/io': 'rchar: 1\nwchar: 1\n',
      '/proc/7/fdinfo/9': 'pos:\t0\nflags:\t0100001\n',
      '/proc/7/fdinfo/5': 'pos:\t10\nflags:\t0100002\n',
      '/proc/8/stat': own,
      '/proc/8/task/8/stat': own,
      '/proc/8/task/8/syscall': '0 0x0 0x0',
      '/proc/8/task/8/io': 'rchar: 100\nwchar: 100\n',
      '/proc/8/io': 'rchar: 100\nwchar: 100\n',
      '/proc/8/cmdline': `${child.join('\0')}\0`,
    },
    links: {
      '/proc/7/fd/9': isClosed ? '/dev/null' : 'pipe:[1]',
      ...(open !== undefined && { '/proc/7/fd/5': open }),
      '/proc/8/fd/0': 'pipe:[1]',
      '/proc/8/fd/1': isUntar ? '/dev/null' : 'pipe:[2]',
    },
  })
  Object.assign(host, { pipeFill: () => ({ bytes: 0, size: 65_536 }) })
  // So late that nobody can be accused any more.
  const pause = host.pause.bind(host)
  const pauseToo = async (ms: number) => {
    if (host.elapsed() > 3000) host.later['/proc/8/io'] = `rchar: ${100 + moved}\nwchar: 100\n`
    return await pause(ms)
  }
  Object.assign(host, { pause: pauseToo })
  const { findings } = await examinePulls(host, [makeEngine(7)], { signal: new AbortController().signal })
  return findings.map(({ code, severity }) => `${code} ${severity}`).join()
}

test('dockerd that waits for a client is not accused: it has no layer of a pull', async () => {
  const gzip = ['gzip', '-d', '-c']
  for (const client of [gzip, ['docker-untar', '/var/lib/docker/tmp/docker-import-1', '']])
    assert.equal(await starved(client), 'PULL_WAITS note', client.join(' '))
})

test('a program that wakes itself has not moved', async () => {
  const untar = ['docker-untar', '/', '/var/lib/docker/tmp/docker-import-1']
  assert.equal(await starved(untar, { moved: 16 }), 'PULL_WAITS note')
  assert.equal(await starved(untar, { moved: 100 }), 'PULL_MOVES ok')
})

test('an untar that was stopped when it had all of its layer is named, although there is nothing before it', async () => {
  const untar = ['docker-untar', '/', '/var/lib/docker/overlay2/ab/diff']
  assert.equal(await starved(untar, { isStopped: true, isClosed: true }), 'UNTAR_STOPPED problem')
  // What its engine does not hand it, it could not take either.
  assert.doesNotMatch(await starved(untar, { isStopped: true }), /UNTAR/)
})

test('dockerd that does not feed a layer that it has is accused, whatever sent it', async () => {
  const data = '/var/lib/docker'
  for (const file of ['tmp/GetImageBlob1', 'tmp/docker-import-1/a/layer.tar', 'buildkit/content/blobs/sha256/a'])
    assert.equal(await starved(['gzip', '-d', '-c'], { open: `${data}/${file}` }), 'ENGINE_DOES_NOT_FEED problem', file)
})

test('no pull is denied where the disk does not tell of a layer that an engine has open', async () => {
  const data = '/var/lib/containerd/io.containerd.content.v1.content/ingest/ab/data'
  const frame = (at: number) => [`f${at}`, `t/proc/7/stat:${stat(7, 'containerd', 1)}`, 'l/proc/7/fd:', fd(5, data)]
  const look = async (silent: readonly string[]) => {
    const lines = ['windlass-facts 2', ...silent.map(path => `?${path}`), ...frame(30), ...frame(33), 'z']
    const host = new RecordedHost(`${lines.join('\n')}\n`)
    const engine = makeEngine(7, { kind: 'containerd' })
    return (await examinePulls(host, [engine], { signal: AbortSignal.timeout(60_000) })).findings
  }
  assert.deepEqual(codesOf(await look([])), ['NO_PULL'])
  const [unseen, ...more] = await look([data, '/proc/7/io'])
  assert.deepEqual([unseen?.code, more], ['DOWNLOADS_UNSEEN', []])
  assert.deepEqual(unseen?.evidence, [`${data}: the disk did not answer, or was not asked any more`])
})

test('where a dockerd has not told its goroutines, that is said beside no pull: what waits for another one shows there alone', async () => {
  const look = async (kind: 'dockerd' | 'podman', answers: Readonly<Record<string, string>>) => {
    const host = new FixtureHost({ files: { '/proc/7/stat': stat(7, kind, 1) }, answers })
    const engine = makeEngine(7, { kind, sockets: ['/s'] })
    const { findings } = await examinePulls(host, [engine], { signal: AbortSignal.timeout(60_000) })
    assert.deepEqual(codesOf(findings), ['NO_PULL'])
    return findings.flatMap(({ evidence }) => evidence)
  }
  assert.match((await look('dockerd', {})).join(), /^dockerd 7 has not told its goroutines: /)
  assert.deepEqual(await look('dockerd', { '/s /debug/pprof/goroutine?debug=1': 'goroutine profile: total 9\n' }), [])
  assert.deepEqual(await look('podman', {}), [])
})

test('a record of one process says of others what --pid would have said on the spot: nothing', async () => {
  const frame = (at: number) => [
    ...[`f${at}`, `t/proc/1/stat:${stat(1, 'init', 0)}`, `t/proc/7/stat:${stat(7, 'containerd', 1)}`],
    ...[`t/proc/9/stat:${stat(9, 'dockerd', 1)}`],
    ...['l/proc/7/fd:', fd(5, '/dev/null')],
  ]
  const environment = ['c/proc/7/environ', 'bPATH=/bin']
  const lines = (head: readonly string[]) => [
    'windlass-facts 2',
    ...head,
    ...environment,
    ...frame(30),
    ...frame(33),
    'z',
  ]
  const look = async (head: readonly string[], pid?: number) => {
    const host = new RecordedHost(`${lines(head).join('\n')}\n`)
    return await diagnose(host, { signal: AbortSignal.timeout(60_000), pid })
  }
  assert.ok(codesOf((await look([])).findings).includes('PULLS_HIDDEN'))
  for (const pid of [undefined, 7]) {
    const { engines, findings } = await look(['=only 7'], pid)
    assert.deepEqual(
      engines.map(({ process }) => process.pid),
      [7],
    )
    for (const code of ['ENGINE_HIDDEN', 'PULLS_HIDDEN']) assert.ok(!codesOf(findings).includes(code), code)
    assert.ok(!findings.some(({ subject }) => subject.includes('dockerd 9')))
    assert.ok(codesOf(findings).includes('NO_PULL'))
  }
  await assert.rejects(look(['=only 7'], 9), /Cannot look at process 9: these are facts about process 7 alone/)
})

test('a client that waits for a pull of which nothing is to be seen is no absence of pulls', async () => {
  const uid = process.getuid?.() ?? 0
  const look = async (args: readonly string[], quietMs = 1, moved = 0, port = 443, worked = 0) => {
    const counters = `bytes_received:5000 lastsnd:${quietMs} lastrcv:${quietMs + 3}`
    const host = new FixtureHost({
      files: {
        '/proc/7/stat': stat(7, 'containerd', 1),
        '/proc/8/stat': stat(8, 'ctr', 1),
        '/proc/8/status': `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`,
        '/proc/8/cmdline': `${args.join('\0')}\0`,
        '/proc/8/environ': 'PATH=/bin\0',
        '/proc/uptime': '901.00 0.00\n',
        '/proc/7/io': 'rchar: 1\nwchar: 1\n',
        '/proc/7/task/7/stat': stat(7, 'containerd', 1),
      },
      links: { '/proc/7/fd/5': '/dev/null', '/proc/8/fd/3': 'socket:[51]' },
      tells: {
        'ss -tneiH state established': `0 0 10.0.0.1:40000 10.0.0.2:${port} ino:51 sk:1\n\t ${counters}\n`,
        'ss -tneiH state listening': '',
      },
    })
    host.later['/proc/7/stat'] = stat(7, 'containerd', 1, worked)
    host.later['/proc/7/io'] = `rchar: ${1 + moved}\nwchar: 1\n`
    const engine = makeEngine(7, { kind: 'containerd', sockets: ['/run/containerd/containerd.sock'] })
    return (await examinePulls(host, [engine], { signal: AbortSignal.timeout(60_000) })).findings
  }
  const [found, ...more] = await look(['ctr', 'images', 'pull', 'registry.example.com/a:1'])
  assert.deepEqual([found?.code, found?.subject, more], ['PULL_WAITS', 'containerd 7', []])
  assert.match(found?.evidence.join() ?? '', /registry\.example\.com\/a:1/)
  assert.deepEqual(codesOf(await look(['ctr', 'images', 'ls'])), ['NO_PULL'])
  // It waits for an answer; what was quiet before it was there is for something else.
  const pull = ['ctr', 'images', 'pull', 'registry.example.com/a:1']
  const [silent] = await look(pull, 61_000)
  assert.deepEqual([silent?.code, silent?.facts], ['PULL_UNANSWERED', { unanswered: 1, unansweredMinutes: 1 }])
  assert.match(silent?.evidence.join() ?? '', /registry\.example\.com\/a:1/)
  assert.deepEqual(codesOf(await look(pull, 950_000)), ['PULL_WAITS'])
  assert.deepEqual(codesOf(await look(pull, 61_000, 0, 4317)), ['PULL_WAITS'])
  // It may unpack in its own process; that somebody asks it how it is is less.
  assert.deepEqual(codesOf(await look(pull, 61_000, 9_000_000)), ['PULL_WAITS'])
  assert.deepEqual(codesOf(await look(pull, 61_000, 20_000, 443, 100)), ['PULL_WAITS'])
  assert.deepEqual(codesOf(await look(pull, 61_000, 200_000, 443, 5)), ['PULL_UNANSWERED'])
  assert.deepEqual(codesOf(await look(['ctr', 'images', 'ls'], 61_000)), ['NO_PULL'])
})
