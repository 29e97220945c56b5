import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BlobHosts } from '../../src/copy/blob-hosts.ts'
import { RangeBudget } from '../../src/copy/blob-ranges.ts'
import { blobStream, type Network } from '../../src/copy/blob-stream.ts'
import type { PullEvent } from '../../src/copy/events.ts'
import { type PullOptions, pull } from '../../src/copy/pull.ts'
import { type ErrorCode, isWindlassError, type WindlassError } from '../../src/errors.ts'
import { Throttle } from '../../src/flow/throttle.ts'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { type Credential, type CredentialSource, noCredentials } from '../../src/places/registry/credentials.ts'
import type { Timeouts } from '../../src/places/registry/limits.ts'
import { openRegistry } from '../../src/places/registry/registry.ts'
import { Store } from '../../src/places/store/store.ts'
import { layerBytes, layers, startImage } from '../servers/faulty-image.ts'
import {
  endlessHeaders,
  endsAfter,
  type Fault,
  type FaultyRegistry,
  interimOnly,
  mute,
  otherRange,
  refuses,
  resetAfter,
  silentAfter,
  startFaultyRegistry,
  trickle,
  well,
  wholeAlways,
} from '../servers/faulty-registry.ts'
import { descriptorOf, digestOf } from '../servers/push.ts'

const never = new AbortController().signal
/** Short enough for a test, long enough for a busy machine. */
const timeouts: Timeouts = { connectMs: 400, headersMs: 400, idleMs: 300, documentMs: 2_000 }
const content = randomBytes(600_000)
const descriptor = descriptorOf(content, 'application/vnd.oci.image.layer.v1.tar')
/** Everything here is done in a second or two; a pull that hangs is what these tests are about. */
const row = { timeout: 15_000 }

const directory = mkdtempSync(join(tmpdir(), 'windlass-network-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let stores = 0

interface FetchOptions extends Partial<Omit<Network, 'hosts'>> {
  readonly mirrors?: readonly FaultyRegistry[]
  readonly signal?: AbortSignal
  /** How long the consumer takes over each chunk. */
  readonly consumeMs?: number
  readonly blob?: Descriptor
  readonly idleMs?: number
}

interface Fetched {
  readonly bytes: Buffer
  readonly retries: readonly WindlassError[]
  readonly pausesMs: readonly number[]
  /** Bytes that came a second time, as told. */
  readonly repeated: number
  readonly elapsedMs: number
}

function openSource({ host }: { host: string }, credentials: CredentialSource = noCredentials, more = {}) {
  return openRegistry(parseReference(`${host}/team/app`), { credentials, timeouts: { ...timeouts, ...more } })
}

/** Fetches the blob into a store of its own, as a pull does. */
async function fetchBlob(origin: { host: string }, options: FetchOptions = {}): Promise<Fetched> {
  const { mirrors = [], signal = never, consumeMs, blob = descriptor, idleMs = timeouts.idleMs, ...network } = options
  await using opened = new AsyncDisposableStack()
  const open = (host: { host: string }) => opened.use(openSource(host, noCredentials, { idleMs }))
  const hosts = new BlobHosts(open(origin), mirrors.map(open))
  await using store = await Store.open(join(directory, `store-${stores++}`), { signal })
  await using session = await store.openSession()
  await using ingest = await session.openBlob(blob, signal)
  const floor = { bytesPerSecond: 1024, windowMs: 30_000 }
  const ranges = new RangeBudget({ rangesMax: 1 })
  const retries: WindlassError[] = []
  const pausesMs: number[] = []
  const chunks: Uint8Array[] = []
  let repeated = 0
  const startedMs = performance.now()
  const stream = blobStream({ hosts, floor, ranges, pauseMs: 5, ...network }, blob, ingest, {
    signal,
    onBytes: () => {},
    onRetry: (error, pauseMs) => {
      retries.push(error)
      pausesMs.push(pauseMs)
    },
    onRepeat: (_, bytes) => {
      repeated += bytes
    },
  })
  for await (const chunk of stream) {
    chunks.push(chunk)
    if (consumeMs !== undefined) await sleep(consumeMs)
  }
  const elapsedMs = performance.now() - startedMs
  const bytes = Buffer.concat(chunks)
  if (digestOf(bytes) === blob.digest) await ingest.commit()
  return { bytes, retries, pausesMs, repeated, elapsedMs }
}

/** A registry that has the blob and fails as told. */
async function startWith(faults: readonly Fault[], always?: Fault): Promise<FaultyRegistry> {
  const registry = await startFaultyRegistry({ faults, ...(always !== undefined && { always }) })
  registry.add(content)
  return registry
}

async function failure(promise: Promise<unknown>, code: ErrorCode): Promise<WindlassError> {
  const error = await promise.then(
    () => assert.fail(`no error; wanted ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(isWindlassError(error), String(error))
  assert.equal(error.code, code, error.message)
  return error
}

function codesOf({ retries }: Fetched): ErrorCode[] {
  return retries.map(({ code }) => code)
}

describe('one fault, then the rest by Range', () => {
  const rows: readonly { name: string; fault: Fault; code: ErrorCode; message: RegExp; twiceMax?: number }[] = [
    {
      name: 'a body that falls silent',
      fault: silentAfter(200_000),
      code: 'STALLED',
      message: /127\.0\.0\.1:\d+ went silent after 200000 of 600000 bytes, for [01]\.\d s/,
    },
    {
      name: 'a reset',
      fault: resetAfter(200_000),
      code: 'NETWORK',
      message: /lost 127\.0\.0\.1:\d+ after \d+ of 600000/,
    },
    {
      name: 'a body that ends early',
      fault: endsAfter(200_000),
      code: 'NETWORK',
      message: /ended after 200000 of 600000 bytes/,
    },
    {
      name: 'no answer at all',
      fault: mute(),
      code: 'STALLED',
      message: /(did not|before it) answer(ed,)? for [01]\.\d s/,
    },
    {
      name: 'headers without end',
      fault: endlessHeaders(50),
      code: 'STALLED',
      message: /(did not|before it) answer(ed,)? for [01]\.\d s/,
    },
    {
      name: 'interim answers without end',
      fault: interimOnly(50),
      code: 'STALLED',
      message: /out of time before it answered, for [01]\.\d s/,
    },
    { name: 'a 503', fault: refuses(503), code: 'NETWORK', message: /answered 503/ },
  ]
  for (const { name, fault, code, message } of rows) {
    test(name, row, async () => {
      await using registry = await startWith([fault])
      const fetched = await fetchBlob(registry)
      assert.ok(fetched.bytes.equals(content))
      assert.deepEqual(codesOf(fetched), [code])
      assert.match(fetched.retries[0]?.message ?? '', message)
      assert.equal(registry.requests.length, 2)
      // A reset may overtake what the kernel has of the body: that much may come twice, and no more.
      assert.ok(registry.bytesServed() <= content.length + (name === 'a reset' ? 200_000 : 0))
      assert.ok(fetched.elapsedMs < 30_000)
    })
  }

  test('what came before a break is used, though the consumer had not asked for it yet', row, async () => {
    const cut: Fault = async exchange => {
      exchange.head()
      await exchange.send(exchange.bytes.subarray(0, 300_000))
      await sleep(100)
      exchange.response.socket?.resetAndDestroy()
    }
    await using registry = await startWith([cut])
    const fetched = await fetchBlob(registry, { consumeMs: 60 })
    assert.ok(fetched.bytes.equals(content))
    assert.deepEqual(
      registry.requests.map(({ range }) => range),
      [undefined, 'bytes=300000-'],
    )
  })
})

test('a connection that broke before its body was read says so', row, async () => {
  await using registry = await startWith([resetAfter(1_000)])
  await using source = openSource(registry)
  const { bytes } = await source.openBlob(descriptor, { offset: 0, signal: never })
  await sleep(200)
  await failure(Array.fromAsync(bytes), 'NETWORK')
})

describe('ranges that are not served', () => {
  test('a host that ignores them is read from its start, and what comes twice is told', row, async () => {
    await using registry = await startWith([silentAfter(200_000), wholeAlways()])
    const fetched = await fetchBlob(registry)
    assert.ok(fetched.bytes.equals(content))
    assert.equal(fetched.repeated, 200_000)
    assert.equal(registry.bytesServed(), 800_000)
  })

  test('a host that answers with another range is asked for the whole, once', row, async () => {
    await using registry = await startWith([silentAfter(200_000)], otherRange())
    const fetched = await fetchBlob(registry)
    assert.ok(fetched.bytes.equals(content))
    assert.deepEqual(codesOf(fetched), ['STALLED', 'PROTOCOL'])
    assert.deepEqual(
      registry.requests.map(({ range }) => range),
      [undefined, 'bytes=200000-', undefined],
    )
  })

  test('a host that ignores them and always breaks where we stand is given up', row, async () => {
    const cut: Fault = async exchange => {
      exchange.response.writeHead(200, { 'content-length': String(exchange.size) })
      await exchange.send(content.subarray(0, 200_000))
      exchange.response.destroy()
    }
    await using registry = await startWith([], cut)
    await failure(fetchBlob(registry), 'NETWORK')
    assert.ok(registry.requests.length <= 6, String(registry.requests.length))
  })

  test('a host that repeats more than it adds, again and again, is given up', row, async () => {
    const creep: Fault = async exchange => {
      exchange.response.writeHead(200, { 'content-length': String(exchange.size) })
      await exchange.send(content.subarray(0, exchange.offset + 70_000))
      await sleep(20)
      exchange.response.destroy()
    }
    await using registry = await startWith([], creep)
    await failure(fetchBlob(registry), 'NETWORK')
    assert.ok(registry.requests.length <= 6, String(registry.requests.length))
  })

  test('what is thrown away while skipping counts against the speed floor', row, async () => {
    const slow: Fault = async exchange => {
      exchange.response.writeHead(200, { 'content-length': String(exchange.size) })
      for (let at = 0; at < exchange.size; at += 100) {
        await exchange.send(content.subarray(at, at + 100))
        await sleep(20)
      }
    }
    await using registry = await startWith([silentAfter(200_000)], slow)
    const floor = { bytesPerSecond: 50_000, windowMs: 200 }
    const error = await failure(fetchBlob(registry, { floor }), 'STALLED')
    assert.match(error.message, /bytes\/s for 0\.\d s, at byte 200000 of 600000; wanted 50000 bytes\/s/)
  })
})

describe('speed', () => {
  test('a trickle below the floor is given up, and the next request brings the rest', row, async () => {
    await using registry = await startWith([trickle(100, 20)])
    const fetched = await fetchBlob(registry, { floor: { bytesPerSecond: 50_000, windowMs: 300 } })
    assert.ok(fetched.bytes.equals(content))
    assert.deepEqual(codesOf(fetched), ['STALLED'])
    assert.match(fetched.retries[0]?.message ?? '', /from 127\.0\.0\.1:\d+: \d+ bytes\/s for 0\.\d s/)
    assert.equal(registry.requests[1]?.range, `bytes=${registry.requests[0]?.bytes}-`)
  })

  test('a host that only ever trickles is given up after a few attempts', row, async () => {
    await using registry = await startWith([], trickle(100, 20))
    const error = await failure(fetchBlob(registry, { floor: { bytesPerSecond: 50_000, windowMs: 200 } }), 'STALLED')
    assert.ok(error.message.includes(registry.host))
    assert.equal(registry.requests.length, 5)
  })

  test('a host that brings a lot, but always below the floor, is given up as well', row, async () => {
    const big = randomBytes(3 << 20)
    await using registry = await startFaultyRegistry({ always: trickle(20_000, 20) })
    registry.add(big)
    const floor = { bytesPerSecond: 20_000_000, windowMs: 150 }
    await failure(fetchBlob(registry, { blob: descriptorOf(big, 'x'), floor }), 'STALLED')
    assert.equal(registry.requests.length, 5)
  })

  test('a host that falls silent after each fast part is given up for its speed on the whole', row, async () => {
    const big = randomBytes(3 << 20)
    await using registry = await startFaultyRegistry({ always: silentAfter(200_000) })
    registry.add(big)
    const floor = { bytesPerSecond: 1_000_000, windowMs: 100 }
    const error = await failure(fetchBlob(registry, { blob: descriptorOf(big, 'x'), floor }), 'STALLED')
    assert.match(error.message, /from 127\.0\.0\.1:\d+: \d+ bytes\/s for \d\.\d s, breaks included, at byte \d+ of/)
    assert.match(error.message, /wanted 1000000 bytes\/s; at last: .* went silent after/)
    assert.ok(registry.requests.length < 10, String(registry.requests.length))
  })

  test('a host that is slow but above the floor is left alone', row, async () => {
    await using registry = await startWith([], trickle(20_000, 30))
    const fetched = await fetchBlob(registry, { floor: { bytesPerSecond: 50_000, windowMs: 200 } })
    assert.ok(fetched.bytes.equals(content))
    assert.equal(registry.requests.length, 1)
  })

  test('a consumer that is slower than the floor is not the network', row, async () => {
    await using registry = await startWith([])
    const fetched = await fetchBlob(registry, { consumeMs: 100, floor: { bytesPerSecond: 50_000_000, windowMs: 100 } })
    assert.ok(fetched.bytes.equals(content))
    assert.deepEqual(fetched.retries, [])
  })

  test('a silence after the consumer has held the stream back for long is still noticed', row, async () => {
    const big = randomBytes(4 << 20)
    await using registry = await startFaultyRegistry({ faults: [silentAfter(3 << 20)] })
    registry.add(big)
    const fetched = await fetchBlob(registry, { blob: descriptorOf(big, 'x'), consumeMs: 20, idleMs: 300 })
    assert.ok(fetched.bytes.equals(big))
    assert.deepEqual(codesOf(fetched), ['STALLED'])
  })
})

describe('hosts that want no more for now', () => {
  for (const status of [429, 503]) {
    test(`Retry-After of a ${status} in seconds is honoured`, row, async () => {
      await using registry = await startWith([refuses(status, { 'retry-after': '1' })])
      const fetched = await fetchBlob(registry)
      assert.ok(fetched.bytes.equals(content))
      assert.ok(fetched.elapsedMs >= 1_000 && fetched.elapsedMs < 30_000, String(fetched.elapsedMs))
    })
  }

  test('Retry-After as a date is honoured', row, async () => {
    const inTwoSeconds = new Date(Date.now() + 2_000).toUTCString()
    await using registry = await startWith([refuses(429, { 'retry-after': inTwoSeconds })])
    const fetched = await fetchBlob(registry)
    assert.ok(fetched.bytes.equals(content))
    // The date has no milliseconds: it lies between one and two seconds ahead.
    assert.ok((fetched.pausesMs[0] ?? 0) > 500 && (fetched.pausesMs[0] ?? 0) <= 2_005, String(fetched.pausesMs))
  })

  test('no more than a minute is waited, whatever is asked for, and cancelling ends it', row, async () => {
    await using registry = await startWith([], refuses(429, { 'retry-after': '86400' }))
    const controller = new AbortController()
    const fetching = fetchBlob(registry, { signal: controller.signal })
    setTimeout(() => controller.abort(), 300)
    const startedMs = performance.now()
    await assert.rejects(fetching)
    assert.ok(performance.now() - startedMs < 20_000)
    assert.equal(registry.requests.length, 1)
  })

  test('one that never stops refusing is given up', row, async () => {
    await using registry = await startWith([], refuses(429))
    const error = await failure(fetchBlob(registry), 'RATE_LIMITED')
    assert.ok(error.message.includes(`${registry.host} answered 429`))
    assert.equal(registry.requests.length, 5)
  })
})

describe('connections', () => {
  test('a host that refuses them is named, and asked a few times only', row, async () => {
    const registry = await startWith([])
    await registry[Symbol.asyncDispose]()
    const error = await failure(fetchBlob(registry), 'NETWORK')
    assert.ok(error.message.includes(registry.host))
    assert.match(error.message, /ECONNREFUSED/)
  })

  test('a name that does not resolve is named', row, async () => {
    const error = await failure(fetchBlob({ host: 'nowhere.invalid' }), 'NETWORK')
    assert.match(error.message, /no connection to nowhere\.invalid: getaddrinfo (ENOTFOUND|EAI_AGAIN)/)
  })

  test('a host that answers neither the handshake nor a request is given up in time', row, async () => {
    const sockets = new Set<Socket>()
    await using server = createServer(socket => void sockets.add(socket))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    using _sockets = { [Symbol.dispose]: () => sockets.forEach(socket => void socket.destroy()) }
    const { port } = server.address() as { port: number }
    const startedMs = performance.now()
    const error = await failure(fetchBlob({ host: `127.0.0.1:${port}` }), 'STALLED')
    assert.match(error.message, /127\.0\.0\.1:\d+ (took the request and did not answer|was too slow)/)
    assert.ok(performance.now() - startedMs < 10_000)
  })

  test('kept connections that died without a word cost one attempt each, and the pull goes on', row, async () => {
    const dead = new Set<Socket | undefined>()
    const aliveOnly: Fault = async exchange => {
      const { socket } = exchange.request
      if (dead.has(socket)) return
      dead.add(socket)
      await well()(exchange)
    }
    await using registry = await startWith([], aliveOnly)
    await using source = openSource(registry)
    const warm = await Promise.all([1, 2].map(() => source.openBlob(descriptor, { offset: 0, signal: never })))
    await Promise.all(warm.map(({ bytes }) => Array.fromAsync(bytes)))
    const retries: string[] = []
    await using store = await Store.open(join(directory, `store-${stores++}`), { signal: never })
    await using session = await store.openSession()
    await using ingest = await session.openBlob(descriptor, never)
    const network = {
      hosts: new BlobHosts(source),
      floor: { bytesPerSecond: 1, windowMs: 30_000 },
      ranges: new RangeBudget({ rangesMax: 1 }),
      pauseMs: 5,
    }
    const options = {
      signal: never,
      onBytes: () => {},
      onRetry: (error: WindlassError) => void retries.push(error.code),
    }
    const bytes = Buffer.concat(await Array.fromAsync(blobStream(network, descriptor, ingest, options)))
    assert.ok(bytes.equals(content))
    assert.ok(retries.length >= 1 && retries.length <= 2, retries.join())
    assert.ok(retries.every(code => code === 'STALLED'))
  })
})

describe('bounds on what a host may do', () => {
  test('a few bytes and a break, again and again, is no progress', row, async () => {
    await using registry = await startWith([], resetAfter(1_000))
    await failure(fetchBlob(registry), 'NETWORK')
    assert.equal(registry.requests.length, 5)
  })

  test('a large part and a break, again and again, is progress', row, async () => {
    const part: Fault = async exchange => {
      exchange.head()
      await exchange.send(exchange.bytes.subarray(0, 70_000))
      await sleep(20)
      exchange.response.destroy()
    }
    await using registry = await startWith([], part)
    const fetched = await fetchBlob(registry)
    assert.ok(fetched.bytes.equals(content))
    assert.equal(registry.requests.length, Math.ceil(content.length / 70_000))
  })

  test('cancelling ends a read from a silent host at once', row, async () => {
    await using registry = await startWith([], silentAfter(1_000))
    const controller = new AbortController()
    const fetching = fetchBlob(registry, { signal: controller.signal, idleMs: 50_000 })
    setTimeout(() => controller.abort(), 200)
    const startedMs = performance.now()
    await assert.rejects(fetching)
    assert.ok(performance.now() - startedMs < 30_000)
  })
})

describe('mirrors', () => {
  test(
    'one that breaks in the middle of a blob is asked once more, then the next host goes on by Range',
    row,
    async () => {
      await using origin = await startWith([])
      await using mirror = await startWith([silentAfter(200_000)], silentAfter(0))
      const fetched = await fetchBlob(origin, { mirrors: [mirror] })
      assert.ok(fetched.bytes.equals(content))
      assert.equal(mirror.requests.length, 2)
      assert.deepEqual(
        origin.requests.map(({ range, bytes }) => [range, bytes]),
        [['bytes=200000-', 400_000]],
      )
    },
  )

  test('one that lacks the blob, denies it or wants a pause costs one request', row, async () => {
    for (const fault of [refuses(404), refuses(403), refuses(429, { 'retry-after': '60' })]) {
      await using origin = await startWith([])
      await using mirror = await startWith([], fault)
      const fetched = await fetchBlob(origin, { mirrors: [mirror] })
      assert.ok(fetched.bytes.equals(content))
      assert.equal(mirror.requests.length, 1)
      assert.equal(origin.bytesServed(), content.length)
      assert.ok(fetched.elapsedMs < 30_000)
    }
  })

  test('while one serves, the origin is not asked', row, async () => {
    await using origin = await startWith([])
    await using mirror = await startWith([])
    const fetched = await fetchBlob(origin, { mirrors: [mirror] })
    assert.ok(fetched.bytes.equals(content))
    assert.equal(origin.requests.length, 0)
  })

  test('one that brings a lot and falls silent, again and again, is left for the next host', row, async () => {
    await using origin = await startWith([])
    await using mirror = await startWith([], silentAfter(100_000))
    const fetched = await fetchBlob(origin, { mirrors: [mirror] })
    assert.ok(fetched.bytes.equals(content))
    assert.equal(mirror.requests.length, 3)
    assert.deepEqual(
      origin.requests.map(({ range }) => range),
      ['bytes=300000-'],
    )
  })

  test('one that brings a lot and breaks off is gone back to when the origin brings nothing', row, async () => {
    await using origin = await startWith([], refuses(503))
    await using mirror = await startWith([], resetAfter(100_000))
    const fetched = await fetchBlob(origin, { mirrors: [mirror] })
    assert.ok(fetched.bytes.equals(content))
    assert.equal(origin.requests.length, 2)
  })

  test('when all fail, the error is that of the origin', row, async () => {
    await using origin = await startWith([], refuses(503))
    await using mirror = await startWith([], refuses(503))
    const error = await failure(fetchBlob(origin, { mirrors: [mirror] }), 'NETWORK')
    assert.ok(error.message.includes(origin.host))
    assert.deepEqual([mirror.requests.length, origin.requests.length], [2, 5])
  })
})

describe('the rate limit', () => {
  test('holds for all who share it together, within 15 %', row, async () => {
    await using registry = await startWith([])
    const throttle = new Throttle(2_000_000)
    const startedMs = performance.now()
    const both = await Promise.all([fetchBlob(registry, { throttle }), fetchBlob(registry, { throttle })])
    const elapsedMs = performance.now() - startedMs
    for (const { bytes } of both) assert.ok(bytes.equals(content))
    const wantedMs = (2 * content.length * 1000) / 2_000_000
    assert.ok(elapsedMs > wantedMs * 0.85, `${elapsedMs} of ${wantedMs} ms`)
    // Its own slowness is bounded by what a busy machine may add.
    assert.ok(elapsedMs < wantedMs * 1.15 + 20_000, `${elapsedMs} of ${wantedMs} ms`)
  })

  test('does not make the network look slow', row, async () => {
    await using registry = await startWith([])
    const throttle = new Throttle(1_000_000)
    const fetched = await fetchBlob(registry, { throttle, floor: { bytesPerSecond: 10_000_000, windowMs: 100 } })
    assert.ok(fetched.bytes.equals(content))
    assert.deepEqual(fetched.retries, [])
  })
})

describe('several ranges at once', () => {
  const big = randomBytes(3 << 20)
  const blob = descriptorOf(big, 'x')
  const eager = { segmentBytes: 256 << 10, leftMin: 1 << 20, waitedMs: 100 }
  /** Half a MiB in 60 ms, for each connection. */
  const slow = trickle(64 << 10, 15)

  async function startBig(faults: readonly Fault[], always: Fault): Promise<FaultyRegistry> {
    const registry = await startFaultyRegistry({ faults, always })
    registry.add(big)
    return registry
  }

  test('while the pull waits for the network, each byte comes once and in order', row, async () => {
    await using registry = await startBig([], slow)
    const fetched = await fetchBlob(registry, { blob, ranges: new RangeBudget(eager) })
    assert.ok(fetched.bytes.equals(big))
    assert.deepEqual(fetched.retries, [])
    assert.ok(registry.parallelMax >= 3 && registry.parallelMax <= 5, String(registry.parallelMax))
    const segments = registry.requests.slice(1)
    assert.ok(segments.length > 4 && segments.every(({ bytes }) => bytes <= eager.segmentBytes))
    // Only what was under way on the first connection may come twice.
    assert.ok(registry.bytesServed() < big.length + (512 << 10))
  })

  test('not where the consumer is what it waits for', row, async () => {
    await using registry = await startBig([], well())
    await fetchBlob(registry, { blob, ranges: new RangeBudget({ ...eager, waitedMs: 0 }), consumeMs: 10 })
    assert.equal(registry.requests.length, 1)
  })

  test('not where the host does not say that it serves ranges', row, async () => {
    const silentOnRanges: Fault = async exchange => {
      exchange.head({ 'accept-ranges': 'none' })
      for (let at = 0; at < exchange.bytes.length; at += 128 << 10) {
        await exchange.send(exchange.bytes.subarray(at, at + (128 << 10)))
        await sleep(15)
      }
      exchange.response.end()
    }
    await using registry = await startBig([], silentOnRanges)
    await fetchBlob(registry, { blob, ranges: new RangeBudget(eager) })
    assert.equal(registry.requests.length, 1)
  })

  for (const [name, fault] of [
    ['a refusal', refuses(403)],
    ['a 429', refuses(429, { 'retry-after': '0' })],
    ['a silence', silentAfter(1_000)],
    ['a reset', resetAfter(1_000)],
    ['an ignored range', wholeAlways()],
    ['another range', otherRange()],
  ] as const) {
    test(`after ${name} one stream goes on alone`, row, async () => {
      const troubled: Fault = exchange =>
        (exchange.number <= 3 || exchange.end === exchange.size ? slow : fault)(exchange)
      await using registry = await startBig([], troubled)
      const fetched = await fetchBlob(registry, { blob, ranges: new RangeBudget(eager) })
      assert.ok(fetched.bytes.equals(big))
      assert.equal(fetched.retries.length, 1)
      // Ranges that were under way may still arrive; after the failure only the rest is asked for.
      assert.ok(registry.requests.some(({ range }) => /^bytes=\d+-$/.test(range ?? '')))
    })
  }

  test('all layers together hold no more than the budget ahead of their streams', () => {
    const budget = new RangeBudget()
    let taken = 0
    while (budget.tryTake()) taken++
    assert.equal(taken * budget.segmentBytes, 32 << 20)
    budget.give()
    assert.ok(budget.tryTake())
    assert.ok(!budget.tryTake())
  })
})

describe('a whole pull', () => {
  async function pullFrom(registry: FaultyRegistry, options: Partial<PullOptions> = {}) {
    const root = join(directory, `store-${stores++}`)
    const run = pull(`${registry.host}/team/app:v1`, {
      root,
      credentials: noCredentials,
      platform: 'linux/amd64',
      patience: { ...timeouts, pauseMs: 5 },
      ...options,
    })
    const events: PullEvent[] = await Array.fromAsync(run)
    return { root, events, result: await run.result }
  }

  async function verifyStore(root: string): Promise<void> {
    await using store = await Store.open(root, { signal: never })
    assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
    assert.equal(store.listImages()[0]?.layers.length, layers.length)
  }

  test('through resets at random positions ends with the right image', row, async () => {
    const anywhere: Fault = async exchange => {
      if (exchange.size < 10_000) return well()(exchange)
      const count = 70_000 + Math.floor(Math.random() * 200_000)
      if (count >= exchange.bytes.length) return well()(exchange)
      return resetAfter(count)(exchange)
    }
    await using registry = await startImage({ always: anywhere })
    const { root, result } = await pullFrom(registry)
    assert.equal(result.bytesDownloaded, layerBytes)
    await verifyStore(root)
  })

  test(
    'goes on at the origin, by Range, when the mirror dies in the middle, and no layer asks the mirror again for long',
    row,
    async () => {
      await using origin = await startImage()
      await using mirror = await startImage({ always: silentAfter(30_000) })
      const { root, events } = await pullFrom(origin, { mirrors: [mirror.host] })
      await verifyStore(root)
      assert.ok(origin.requests.some(({ range }) => /^bytes=[1-9]/.test(range ?? '')))
      assert.ok(events.some(event => 'message' in event && event.message.includes(mirror.host)))
      // One for the config, two attempts for each layer that was under way.
      assert.ok(mirror.requests.length <= 1 + 2 * layers.length)
    },
  )

  const page: Readonly<Record<string, NonNullable<Parameters<typeof startImage>[0]>['manifests']>> = {
    'says nothing': () => {},
    'has no manifest': response => response.writeHead(404).end(),
    'answers 500': response => response.writeHead(500).end(),
    'answers with a page': response =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in</html>'),
    'answers with too much': response => response.writeHead(200, { 'content-length': String(1 << 30) }).flushHeaders(),
    'breaks off': response => {
      response.writeHead(200, { 'content-length': '500' }).write('{')
      setTimeout(() => response.destroy(), 20)
    },
  }
  for (const [what, manifests] of Object.entries(page)) {
    test(`asks the origin for the manifest where a mirror ${what}`, row, async () => {
      await using origin = await startImage()
      await using mirror = await startImage({ ...(manifests !== undefined && { manifests }) })
      const { root, events } = await pullFrom(origin, { mirrors: [mirror.host] })
      await verifyStore(root)
      assert.ok(mirror.manifestRequests >= 1 && mirror.manifestRequests <= 2, String(mirror.manifestRequests))
      assert.equal(origin.manifestRequests, 1)
      assert.ok(events.some(event => 'message' in event && event.message.includes(mirror.host)))
    })
  }

  test('needs no origin where a mirror has it all', row, async () => {
    const origin = await startImage()
    await origin[Symbol.asyncDispose]()
    await using mirror = await startImage()
    const { root } = await pullFrom(origin, { mirrors: [mirror.host] })
    await verifyStore(root)
  })

  test('takes what a mirror got wrong from the origin', row, async () => {
    const wrong: Fault = async exchange => {
      exchange.head()
      const bytes = Buffer.from(exchange.bytes)
      bytes.writeUInt8((bytes.readUInt8(bytes.length >> 1) ^ 1) & 0xff, bytes.length >> 1)
      await exchange.send(bytes)
      exchange.response.end()
    }
    await using origin = await startImage()
    await using mirror = await startImage({ always: wrong })
    const { root } = await pullFrom(origin, { mirrors: [mirror.host] })
    await verifyStore(root)
  })

  test("never shows the origin's credentials to a mirror", row, async () => {
    await using origin = await startImage({ password: true })
    await using mirror = await startImage({ password: true, always: silentAfter(50_000) })
    const asked: string[] = []
    const owned: Record<string, Credential> = { [origin.host]: { username: 'ann', password: 'hunter2' } }
    const credentials: CredentialSource = {
      find: async host => {
        asked.push(host)
        return owned[host]
      },
    }
    const { root, events } = await pullFrom(origin, { mirrors: [mirror.host], credentials })
    await verifyStore(root)
    assert.ok(asked.includes(mirror.host))
    assert.deepEqual(mirror.requests, [])
    assert.ok(!JSON.stringify(events).includes('hunter2'))
    assert.ok(origin.requests.every(({ authorization }) => authorization?.startsWith('Basic ')))
  })

  test('a mirror that wants credentials gets its own', row, async () => {
    await using origin = await startImage()
    await using mirror = await startImage({ password: true })
    const own = { username: 'bob', password: 'other' }
    const find = async (host: string) => (host === mirror.host ? own : undefined)
    await pullFrom(origin, { mirrors: [mirror.host], credentials: { find } })
    const header = `Basic ${Buffer.from('bob:other').toString('base64')}`
    assert.equal(mirror.requests.length, layers.length + 1)
    assert.ok(mirror.requests.every(({ authorization }) => authorization === header))
    assert.ok(origin.requests.every(({ authorization }) => authorization === undefined))
  })

  test('what a failed pull brought is not downloaded again', row, async () => {
    await using registry = await startImage({
      always: exchange => (exchange.size < 10_000 ? well() : resetOnceHalfIsHere)(exchange),
    })
    const root = join(directory, `store-${stores++}`)
    await failure(pullFrom(registry, { root }), 'NETWORK')
    registry.requests.length = 0
    broken = false
    await pullFrom(registry, { root })
    await verifyStore(root)
    assert.ok(registry.bytesServed() <= layerBytes / 2 + 10_000, `${registry.bytesServed()} of ${layerBytes}`)
  })

  let broken = true
  const resetOnceHalfIsHere: Fault = async exchange => {
    if (!broken) return well()(exchange)
    const half = exchange.size >> 1
    exchange.head()
    if (exchange.offset < half) await exchange.send(exchange.bytes.subarray(0, half - exchange.offset))
    await sleep(50)
    exchange.response.destroy()
  }
})

describe('the command', { concurrency: 4 }, () => {
  const program = join(import.meta.dirname, '..', '..', 'bin', 'windlass')

  async function run(...args: string[]): Promise<{ status: number | null; stderr: string }> {
    const { PATH = '' } = process.env
    const root = join(directory, `store-${stores++}`)
    const child = spawn(program, ['--root', root, ...args], { env: { PATH, HOME: directory }, stdio: 'pipe' })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', text => (stderr += text))
    const [status] = await once(child, 'close')
    return { status, stderr }
  }

  test('a rate that is none, and a mirror that is no host, are wrong usage', row, async () => {
    for (const args of [
      ['--limit-rate', '0'],
      ['--limit-rate', '10Q'],
      ['--min-speed', 'fast'],
      ['--mirror', 'host/path'],
      ['--mirror', 'https://host'],
    ]) {
      const { status, stderr } = await run('pull', ...args, '127.0.0.1:1/team/app')
      assert.equal(status, 125, stderr)
      assert.match(stderr, /^windlass: Cannot use (option|mirror) .*wanted /m)
    }
  })

  test('--mirror and --limit-rate reach the pull', row, async () => {
    await using origin = await startImage()
    await using mirror = await startImage()
    const startedMs = performance.now()
    const args = ['--mirror', mirror.host, '--limit-rate', '1M', '--platform', 'linux/amd64']
    const { status, stderr } = await run('pull', ...args, `${origin.host}/team/app:v1`)
    assert.equal(status, 0, stderr)
    assert.equal(mirror.requests.length, layers.length + 1)
    assert.ok(performance.now() - startedMs > (layerBytes / (1 << 20)) * 850)
  })

  test('a mirror that breaks off again and again is left in the middle of a layer', row, async () => {
    await using origin = await startImage()
    await using mirror = await startImage({
      always: exchange => (exchange.size < 10_000 ? well() : resetAfter(100_000))(exchange),
    })
    const args = ['--mirror', mirror.host, '--layers', '1', '--platform', 'linux/amd64']
    const { status, stderr } = await run('pull', ...args, `${origin.host}/team/app:v1`)
    assert.equal(status, 0, stderr)
    assert.ok(stderr.includes(`lost ${mirror.host} after`), stderr)
    assert.equal(origin.manifestRequests, 0)
    assert.ok(origin.requests.some(({ range }) => /^bytes=[1-9]/.test(range ?? '')))
    assert.equal(origin.requests.length, layers.length)
  })

  test('a body that falls silent is asked for again in time, from where it stands', { timeout: 60_000 }, async () => {
    const hush: Fault = exchange => (exchange.number === 2 ? silentAfter(100_000) : well())(exchange)
    await using origin = await startImage({ always: hush })
    const { status, stderr } = await run('pull', '--platform', 'linux/amd64', `${origin.host}/team/app:v1`)
    assert.equal(status, 0, stderr)
    assert.match(stderr, /went silent after 100000 of \d+ bytes, for 1[5-9]\.\d s/)
    assert.ok(origin.requests.some(({ range }) => range === 'bytes=100000-'))
    assert.equal(origin.bytesServed(), layerBytes + (origin.requests[0]?.bytes ?? 0))
  })

  test('a registry that is gone ends it with status 4 and its name', row, async () => {
    const origin = await startImage()
    await origin[Symbol.asyncDispose]()
    const { status, stderr } = await run('pull', `${origin.host}/team/app:v1`)
    assert.equal(status, 4, stderr)
    assert.ok(
      stderr.includes(`no connection to ${origin.host}`) || stderr.includes(`Cannot connect to ${origin.host}`),
      stderr,
    )
  })
})
