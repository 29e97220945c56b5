import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { catalogue } from '../../src/doctor/catalogue.ts'
import { diagnose } from '../../src/doctor/diagnose.ts'
import type { Finding } from '../../src/doctor/finding.ts'
import { isWindlassError } from '../../src/errors.ts'
import { LiveHost } from '../../src/sys/host-view.ts'
import { mute } from '../servers/faulty-registry.ts'
import { digestOf } from '../servers/push.ts'
import { collectResult, run, waitUntil } from '../testbed/command.ts'
import { startContainerd } from '../testbed/containerd.ts'
import { crioPrograms, startCrio } from '../testbed/crio.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type Engines, hostEngines, newestEngines } from '../testbed/newest.ts'
import { openPodman } from '../testbed/podman.ts'
import { startBufferingProxy } from '../testbed/proxy.ts'
import { isLong } from './death.ts'
import { layers, pullCodes, SickEngine, visit } from './doctor-bed.ts'
import { type Bed, type EngineKind, judge, type Scenario, scenarios } from './doctor-scenarios.ts'
import {
  holdBack,
  type MadeLayer,
  makeDirectory,
  makeFile,
  makeLayer,
  makeNoise,
  ofConfig,
  type ServedImage,
  serveImage,
  trickle,
} from './image.ts'

const row = { timeout: 120_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-doctor-'))
const gate = Promise.withResolvers<void>()
let image: ServedImage
let silent: ServedImage
let single: ServedImage
let slow: ServedImage
let replaced: ServedImage
let unconfigured: ServedImage
let slowest: ServedImage

/** Ends as it should, but before that what the directory holds has to be removed. */
function makeReplaced(count: number): MadeLayer {
  const files = Array.from({ length: count }, (_, number) => makeFile(`many/${number}`))
  return makeLayer([makeDirectory('many'), ...files, makeFile('many/last'), makeFile('many', 'one')])
}

/** Two layers come so slowly that a piece of 1 MiB takes longer than two minutes, and four so that who fetches three at a time has begun some of them by then, and others not. */
async function serveSlowest(): Promise<ServedImage> {
  const sizes = isLong ? [2 << 20, 2 << 20, 4 << 20, 4 << 20, 4 << 20, 4 << 20] : []
  const layers = sizes.map((bytes, at) => makeNoise(`slowest-${at}`, bytes))
  return await serveImage(layers, Object.fromEntries(layers.map((_, at) => [at, trickle(at < 2 ? 120 : 600)])))
}

before(async () => {
  image = await serveImage(layers)
  single = await serveImage([makeNoise('single', 24 << 20)])
  slow = await serveImage([makeNoise('slow', 4 << 20)], { 0: trickle(600) })
  slowest = await serveSlowest()
  replaced = await serveImage([makeReplaced(isLong ? 100_000 : 1)])
  unconfigured = await serveImage([makeNoise('unconfigured', 1 << 20)], { [ofConfig]: mute() })
  silent = await serveImage([makeNoise('silent', 12 << 20)], { 0: holdBack(9_000_000, gate.promise) })
})
after(async () => {
  gate.resolve()
  await image?.[Symbol.asyncDispose]()
  await silent?.[Symbol.asyncDispose]()
  await single?.[Symbol.asyncDispose]()
  await slow?.[Symbol.asyncDispose]()
  await replaced?.[Symbol.asyncDispose]()
  await unconfigured?.[Symbol.asyncDispose]()
  await slowest?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

interface OpenBed extends AsyncDisposable {
  readonly bed: Bed
}

/** A client that was killed leaves a lease, which holds what it had pulled. */
const forget = `ctr -a "$1" leases ls -q | xargs -r ctr -a "$1" leases rm; ctr -a "$1" images rm --sync "$2"`

/** An engine of this host, or of the folder of newer ones, on a filesystem of its own. */
async function openBed(kind: EngineKind, engines: Engines): Promise<OpenBed> {
  const isNewest = engines.length > 0
  const below = await openLoopFilesystem({ sizeBytes: 2 ** 30 + 2 ** 28 })
  const loop = await openLoopFilesystem({ place: below.directory, sizeBytes: 2 ** 30 })
  const shims = mkdtempSync(join(directory, 'shims-'))
  const proxy = await startBufferingProxy(silent.registry.host)
  const { reference } = silent
  const slows = { slow: slow.reference, slowest: slowest.reference }
  const others = {
    buffered: `${proxy.host}/team/app:v1`,
    replaced: replaced.reference,
    unconfigured: unconfigured.reference,
    ...slows,
  }
  const references = { image: image.reference, single: single.reference, silent: reference, ...others }
  const archive = join(below.directory, 'archive.tar')
  if (isLong)
    await run('skopeo', [
      'copy',
      '--src-tls-verify=false',
      `docker://${single.reference}`,
      `docker-archive:${archive}:sent:v0`,
    ])
  const common = { disk: loop.directory, below: below.directory, ...references, cutProxy: () => proxy.cut() }
  const open = async (daemon: AsyncDisposable, engine: SickEngine, hasUntar: boolean, more: Partial<Bed> = {}) => {
    return {
      bed: { ...common, engine, hasUntar, socket: '', send: [], archive, ...more },
      async [Symbol.asyncDispose]() {
        await engine.free()
        await proxy[Symbol.asyncDispose]()
        await daemon[Symbol.asyncDispose]()
        await loop[Symbol.asyncDispose]()
        await below[Symbol.asyncDispose]()
      },
    }
  }
  if (kind === 'docker') {
    const docker = await startDocker(join(loop.directory, 'docker'), shims, engines)
    const client = ['docker', '-H', `unix://${docker.socket}`]
    const engine = new SickEngine(docker.pid, shims, [...client, 'pull'], [...client, 'rmi', '-f'])
    return await open(docker, engine, !isNewest, {
      socket: docker.socket,
      send: ['sh', '-c', 'gzip -1 | "$@"', 'sh', ...client, 'load'],
    })
  }
  if (kind === 'containerd') {
    const containerd = await startContainerd(join(loop.directory, 'containerd'), shims, engines)
    const ctr = [...engines, 'ctr', '-a', containerd.socket, 'images']
    const pull = ['ctr', '-a', containerd.socket, 'images', 'pull', '--plain-http']
    const remove = ['sh', '-c', forget, 'sh', containerd.socket]
    const decompressor = isNewest ? 'igzip' : 'unpigz'
    const engine = new SickEngine(containerd.pid, shims, pull, remove, { decompressor })
    return await open(containerd, engine, false, { send: [...ctr, 'import', '-'] })
  }
  if (kind === 'crio') {
    const crio = await startCrio(crioPrograms() ?? '', join(loop.directory, 'crio'), shims)
    const options = { decompressor: 'pigz' }
    return await open(crio, new SickEngine(crio.pid, shims, [...crio.crictl, 'pull'], crio.remove, options), true)
  }
  const podman = await openPodman(join(loop.directory, 'podman'), shims, engines)
  const client = [...engines, 'podman']
  const [pull, remove] = [
    [...client, 'pull', '--tls-verify=false'],
    [...client, 'rmi', '-f'],
  ]
  const options = { decompressor: 'pigz', isOwnDecompressor: !isNewest, env: podman.env }
  return await open(podman, new SickEngine(undefined, shims, pull, remove, options), !isNewest)
}

/** All that must be seen and said of one engine. */
function testEngine(kind: EngineKind, engines: Engines, rows: readonly Scenario[]): void {
  let open: OpenBed
  before(async () => {
    open = await openBed(kind, engines)
  })
  after(async () => await open?.[Symbol.asyncDispose]())
  afterEach(() => open.bed.engine.free())

  const look = (scenario: Scenario) =>
    test(scenario.name, row, async t => {
      await using sickness = await scenario.arrange(open.bed)
      const seen = await visit(open.bed.engine.pid)
      t.diagnostic(
        `${kind}: ${pullCodes(seen)} ${scenario.beside ?? ''} in ${(seen.took.ms / 1000).toFixed(1)} s, held up ${(seen.took.heldUpMs / 1000).toFixed(1)} s`,
      )
      judge(scenario, kind, sickness, seen)
    })
  for (const scenario of rows.filter(({ isLast }) => !isLast)) look(scenario)
  if (kind === 'docker' || kind === 'containerd') testNamedLayer(() => open.bed, namedLayer[kind])
  if (isLong) {
    testTrace(() => open.bed)
    test('40 looks at pulls that go on, fast and slow: nobody is ever accused', { timeout: 600_000 }, async t =>
      t.diagnostic(`${kind}: ${await lookAtMoving(open.bed, 40)}`),
    )
    test('40 looks at a pull over a slow link: nobody is ever accused', { timeout: 600_000 }, async t =>
      t.diagnostic(`${kind}: ${await lookAtSlow(open.bed, 40)}`),
    )
  }
  for (const scenario of rows.filter(({ isLast }) => isLast)) look(scenario)
}

const namedLayer = {
  docker: [/2 pulls wait for it: the engine unpacks this layer alone/],
  containerd: [
    /in namespace default that layer comes from 127\.0\.0\.1\/team\/app, and is part of 127\.0\.0\.1:\d+\/team\/app:v1/,
  ],
}

/** What the finding of the one decompressor that stands still says of its layer. */
function testNamedLayer(bed: () => Bed, wanted: readonly RegExp[]): void {
  test('that stands still: its layer is named, and who waits for it', row, async () => {
    const { engine, hasUntar } = bed()
    await engine.stopInPull('decompressor', hasUntar, single.reference)
    engine.startPull(single.reference)
    await sleep(1000)
    const seen = await visit(engine.pid)
    const found = seen.findings.find(({ code }) => code === 'DECOMPRESSOR_STOPPED')
    const text = found?.evidence.join('\n') ?? ''
    assert.equal(
      found?.facts['layer'],
      digestOf(single.layers[0]?.blob ?? Buffer.alloc(0)),
      JSON.stringify(found ?? seen.findings),
    )
    for (const pattern of [...wanted, new RegExp(`wait for a pull of this engine: ${single.reference}`)])
      assert.match(text, pattern)
  })
}

/** What the parts of a trace are, in the order in which they are told; together they are all the time. */
const traceParts =
  /^(?:downloading, and nothing else|downloading and unpacking|unpacking \(\d+ layers seen\)|neither was seen) +(\d+\.\d) s/gm

function testTrace(bed: () => Bed): void {
  test('that is traced, and is well: its parts are its time, and nobody is accused', row, async () => {
    const { engine, image } = bed()
    // On a busy machine a layer may come and go between two looks.
    engine.useScript(`sleep 1; exec /usr/bin/${engine.decompressor} "$@"`)
    const { status, stderr } = await collectResult(engine.startTraced(image))
    assert.equal(status, 0, stderr)
    assert.doesNotMatch(stderr, /✗/)
    const parts = [...stderr.matchAll(traceParts)].map(([, seconds]) => Number(seconds))
    const total = Number(/^total +(\d+\.\d) s/m.exec(stderr)?.[1])
    assert.equal(parts.length, 4, stderr)
    assert.ok(Math.abs(parts.reduce((sum, part) => sum + part, 0) - total) < 0.3, stderr)
    assert.doesNotMatch(stderr, /\(0 layers seen\)/)
  })

  test(
    'that is traced, and stands still: it is explained while it does, and the status is that of the command',
    row,
    async () => {
      const { engine, image, hasUntar } = bed()
      let said = ''
      const start = () => {
        const traced = engine.startTraced(image)
        traced.stderr?.setEncoding('utf8').on('data', (text: string) => {
          said += text
        })
        return traced
      }
      const { client: traced, ...seen } = await engine.stopInPull('decompressor', hasUntar, image, start)
      const { decompressor, untar } = seen
      const code = decompressor === untar && hasUntar ? 'UNTAR_STOPPED' : 'DECOMPRESSOR_STOPPED'
      await waitUntil('it is explained', 60_000, () => said.includes(`[${code}]`))
      assert.equal(traced.exitCode, null)
      process.kill(decompressor, 'SIGKILL')
      const [status] = await once(traced, 'close')
      assert.notEqual(status, 0, said)
      assert.match(said, /^unpacking \(\d+ layers seen\) +\d+\.\d s/m)
    },
  )
}

function rowsFor(kind: EngineKind): Scenario[] {
  const possible = scenarios.filter(({ without }) => without?.includes(kind) !== true)
  // CRI-O is tried on demand alone.
  return isLong || kind === 'crio' ? possible : possible.filter(({ short }) => short.includes(kind))
}

test('the table in docs/doctor.md has these scenarios and their verdicts', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/doctor.md'), 'utf8')
  const rows = [...text.matchAll(/^\| ([^|]+?) \|(?:[^|]*\|){7} ([^|]*?) \|$/gm)].map(([, name, verdict]) => [
    name,
    verdict,
  ])
  const wanted = scenarios.map(({ name, codes, beside }) => [
    name,
    [...codes, ...(beside === undefined ? [] : [beside])].map(code => `\`${code}\``).join(', ') || 'no accusation',
  ])
  assert.deepEqual(rows.slice(-wanted.length), wanted)
})

describe('the doctor looks at', { concurrency: true }, () => {
  describe('a docker pull', { concurrency: 1 }, () => testEngine('docker', hostEngines, rowsFor('docker')))
  describe('a pull of containerd', { concurrency: 1 }, () =>
    testEngine('containerd', hostEngines, rowsFor('containerd')),
  )

  describe('a pull of another docker', { concurrency: 1 }, () => {
    let open: OpenBed
    let sick: SickEngine
    before(async () => {
      open = await openBed('docker', hostEngines)
      sick = open.bed.engine
    })
    after(async () => await open?.[Symbol.asyncDispose]())
    afterEach(() => sick.free())

    test('whose healthy decompressor is stopped by a signal: the pull goes on when it is let', row, async () => {
      const { client, decompressor } = await sick.stopInPull('decompressor', true, single.reference)
      const seen = await visit(sick.pid)
      process.kill(decompressor, 'SIGCONT')
      assert.deepEqual(pullCodes(seen), ['DECOMPRESSOR_STOPPED'], JSON.stringify(seen.findings))
      assert.deepEqual(await once(client, 'exit'), [0, null])
    })

    testTrace(() => open.bed)

    test('whose processes it may not look into: it says so, and accuses nobody of standing still', row, async () => {
      await sick.stopInPull('decompressor', true, single.reference)
      const seen = await visit(sick.pid, ['setpriv', '--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace'])
      assert.deepEqual(pullCodes(seen), ['PULLS_HIDDEN'], JSON.stringify(seen.findings))
      assert.equal(seen.status, 10)
    })

    test('that is slow at every end: nobody is ever accused', row, async t =>
      t.diagnostic(await lookAtMoving(open.bed, 4)),
    )
  })

  if (isLong) {
    describe('a pull of podman', { concurrency: 1 }, () => {
      // This one decompresses by itself.
      const own = rowsFor('podman').filter(({ name }) =>
        /^(untar|engine stopped|filesystem frozen|disk that answers nobody|security agent|registry|proxy|no pull)/.test(
          name,
        ),
      )
      testEngine('podman', hostEngines, own)
    })
  }
})

const newest = newestEngines()
const skip = newest === undefined && 'WINDLASS_PEERS_ROOT does not name a folder with newer engines'

describe('the doctor looks at the newest engines', { skip, concurrency: 1 }, () => {
  for (const kind of ['docker', 'containerd', 'podman'] as const) {
    // A docker of today unpacks by itself.
    const rows = rowsFor(kind).filter(
      ({ name, needsHostRoot }) => !needsHostRoot && (kind === 'podman' || !name.startsWith('untar')),
    )
    describe(`a pull of ${kind}`, { concurrency: 1 }, () => testEngine(kind, newest ?? hostEngines, rows))
  }
})

const noCrio = crioPrograms() === undefined && 'WINDLASS_CRIO does not name a folder with crio and crictl'

describe('the doctor looks at', { skip: noCrio }, () => {
  describe('a pull of CRI-O', { concurrency: 1 }, () => testEngine('crio', hostEngines, rowsFor('crio')))
})

const visitorsCount = 4

async function unlessGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (!isWindlassError(error, 'NOT_FOUND')) throw error
    // That was found out without waiting for anything; what tells that the command has ended must be heard, too.
    await sleep(50)
    return undefined
  }
}

/** What was said of pulls that go on. */
class Looks {
  readonly #accused: string[] = []
  readonly #said = new Map<string, number>()
  count = 0

  /** Looks from several sides, as long as it is wanted. */
  async lookWhile(isWanted: () => boolean, engine: SickEngine): Promise<void> {
    const { pid } = engine
    const { signal } = new AbortController()
    const visits = async () => {
      while (isWanted()) {
        // A command that pulls may end between two looks.
        const seen = await unlessGone(diagnose(new LiveHost(), { signal, pid }))
        if (seen !== undefined) this.#note(seen.findings, pid)
      }
    }
    await Promise.all(Array.from({ length: visitorsCount }, visits))
  }

  #note(findings: readonly Finding[], pid: number): void {
    const pulls = findings.filter(({ code }) => catalogue[code].area === 'pulls')
    for (const code of new Set(pulls.map(({ code }) => code))) this.#said.set(code, (this.#said.get(code) ?? 0) + 1)
    const ofOwn = findings.filter(({ code, facts }) => code === 'DECOMPRESSOR_LEFT_OVER' && facts['parent'] === pid)
    const accused = [...pulls, ...ofOwn].filter(({ severity }) => severity === 'problem' || severity === 'warning')
    this.#accused.push(...accused.map(finding => JSON.stringify(finding)))
    this.count++
  }

  /** @returns how often what was said, once it is known that nobody was accused */
  tell(): string {
    assert.deepEqual(this.#accused, [])
    return `${this.count} looks, ${[...this.#said].map(([code, count]) => `${count} times ${code}`).join(', ')}`
  }
}

/** Looks so many times at pulls that go on: one as fast as it can, one whose processes run a fifth of the time, and so on. */
async function lookAtMoving({ engine, image }: Bed, wanted: number): Promise<string> {
  const looks = new Looks()
  for (let pulls = 1; looks.count < wanted; pulls++) {
    const client = engine.startPull(image)
    const slow = async () => {
      while (client.exitCode === null) {
        const pids = engine.children().map(({ pid }) => pid)
        signalAll(pids, 'SIGSTOP')
        await sleep(400)
        signalAll(pids, 'SIGCONT')
        await sleep(100)
      }
    }
    await Promise.all([looks.lookWhile(() => client.exitCode === null, engine), ...(pulls % 2 === 1 ? [slow()] : [])])
    assert.equal(client.exitCode, 0)
    await engine.free()
  }
  return looks.tell()
}

/** Nothing is written for so long where little comes, and still it comes. */
const slowMs = 122_000

/** Looks so many times at a pull that has been slow for minutes. */
async function lookAtSlow({ engine, slowest }: Bed, wanted: number): Promise<string> {
  const looks = new Looks()
  const client = engine.startPull(slowest)
  await sleep(slowMs)
  await looks.lookWhile(() => client.exitCode === null && looks.count < wanted, engine)
  assert.equal(client.exitCode, null)
  await engine.free()
  return looks.tell()
}

function signalAll(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {} // it has ended
  }
}
