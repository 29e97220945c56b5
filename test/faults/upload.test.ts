/** The network rows of an upload: what a registry may do to a push (docs/faults.md). */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { copyImages } from '../../src/copy/copy-image.ts'
import type { PullEvent } from '../../src/copy/events.ts'
import { type ErrorCode, isWindlassError, type WindlassError } from '../../src/errors.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import type { RegistryOptions } from '../../src/places/registry/repository.ts'
import { openRegistrySink } from '../../src/places/registry/upload.ts'
import { type LayeredSource, layeredSource } from '../layered-source.ts'
import { startDockerRegistry } from '../servers/docker-registry.ts'
import {
  answers,
  breaksAfter,
  breaksBeforeAnswer,
  fallsSilent,
  startUploadRegistry,
  type UploadFault,
  type UploadPhase,
  type UploadRegistry,
} from '../servers/upload-registry.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'

/** Short enough for a test, long enough for a busy machine. */
const timeouts = { connectMs: 1_000, headersMs: 2_000, idleMs: 1_000, documentMs: 5_000 }
const row = { timeout: 60_000 }
/** Larger than what goes in one request, so that it is sent in two. */
const large = layeredSource([{ name: 'large', data: randomBytes(4_500_000) }])

interface Pushed {
  readonly warnings: readonly string[]
  readonly bytesCopied: number
}

async function push(
  { host }: { host: string },
  image: LayeredSource = large,
  options: Partial<RegistryOptions> = {},
): Promise<Pushed> {
  const registry = { credentials: noCredentials, timeouts, ...options }
  await using sink = openRegistrySink({ domain: host, path: 'app', tag: '1' }, registry)
  const { source, reference } = image
  const copying = [{ source, reference, placements: [{ tag: '1' }] as const }]
  const run = copyImages(copying, sink, { root: '/', patience: { pauseMs: 1 }, layersMax: 1 })
  const warnings: string[] = []
  const read = async (): Promise<void> => {
    for await (const event of run as AsyncIterable<PullEvent>)
      if (event.type === 'warning') warnings.push(event.message)
  }
  const [[result]] = await Promise.all([run.result, read()])
  return { warnings, bytesCopied: result?.bytesCopied ?? 0 }
}

async function failure(pushing: Promise<unknown>, code: ErrorCode): Promise<WindlassError> {
  const error = await pushing.then(
    () => assert.fail(`no error; wanted ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(isWindlassError(error), String(error))
  assert.equal(error.code, code, error.message)
  return error
}

/** All of the image is there, right, and under its name. */
function assertComplete(registry: UploadRegistry): void {
  const manifest = JSON.parse(String(registry.manifests.get('1')))
  for (const { digest, size } of [manifest.config, ...manifest.layers])
    assert.equal(registry.blobs.get(digest)?.length, size, digest)
}

/** What docker-registry answers then. */
const blobUnknown = JSON.stringify({ errors: [{ code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to registry' }] })

describe('one fault, and the push goes on', () => {
  const faults: readonly (readonly [UploadPhase, string, UploadFault])[] = [
    ['look', 'a reset', breaksAfter(0)],
    ['look', 'silence', fallsSilent()],
    ['look', 'a 503', answers(503)],
    ['start', 'a reset', breaksAfter(0)],
    ['start', 'silence', fallsSilent()],
    ['start', 'a 502', answers(502)],
    ['chunk', 'a reset in the middle', breaksAfter(2_000_000)],
    ['chunk', 'a reset before the answer', breaksBeforeAnswer()],
    ['chunk', 'silence in the middle', fallsSilent(2_000_000)],
    ['chunk', 'a 500', answers(500)],
    ['chunk', 'a 404: the registry has lost the upload', answers(404)],
    ['finish', 'a reset', breaksAfter(0)],
    ['finish', 'a reset when the blob is there', breaksBeforeAnswer()],
    ['finish', 'silence', fallsSilent()],
    ['finish', 'a 504', answers(504)],
    ['manifest', 'a reset', breaksAfter(0)],
    ['manifest', 'a reset when it is there', breaksBeforeAnswer()],
    ['manifest', 'silence', fallsSilent()],
    ['manifest', 'a 500', answers(500)],
    ['manifest', 'a blob unknown that another push brings at the same time', answers(400, {}, blobUnknown)],
  ]
  for (const [phase, name, fault] of faults) {
    test(`${phase}: ${name}`, row, async () => {
      await using registry = await startUploadRegistry({ [phase]: [fault] })
      const { warnings } = await push(registry)
      assertComplete(registry)
      assert.ok(warnings.length > 0)
      assert.match(`${warnings[0]}`, /^Cannot (look for|push) .*127\.0\.0\.1:\d+/)
    })
  }

  test('an upload that was cut goes on at the byte where the registry stands', row, async () => {
    await using registry = await startUploadRegistry({ chunk: [breaksAfter(2_000_000)] })
    await push(registry)
    const [, second] = registry.seen.filter(line => line.startsWith('chunk'))
    const offset = Number(/^chunk (\d+)-/.exec(`${second}`)?.[1])
    assert.ok(offset >= 2_000_000 && offset < 5_000_000, String(second))
    assertComplete(registry)
  })

  test('429 with Retry-After is waited for', row, async () => {
    await using registry = await startUploadRegistry({ start: [answers(429, { 'retry-after': '1' })] })
    const startedMs = performance.now()
    await push(registry)
    assert.ok(performance.now() - startedMs >= 1_000)
    assertComplete(registry)
  })

  test('a registry that reads slowly is waited for', row, async () => {
    const slow: UploadFault = async ({ request, response, take, received }) => {
      await take(undefined, 40)
      response.writeHead(202, { location: request.url ?? '', range: `0-${received() - 1}` }).end()
    }
    await using registry = await startUploadRegistry({ chunk: [slow] })
    assert.deepEqual((await push(registry)).warnings, [])
    assertComplete(registry)
  })
})

describe('a fault that lasts', () => {
  const always = (fault: UploadFault): UploadFault[] => Array.from({ length: 20 }, () => fault)
  const rows: readonly (readonly [string, Partial<Record<UploadPhase, UploadFault[]>>, ErrorCode, RegExp])[] = [
    ['resets', { chunk: always(breaksAfter(0)) }, 'NETWORK', /Cannot push blob .* lost 127/],
    ['silence', { start: always(fallsSilent()) }, 'STALLED', /Cannot push blob .* (did not answer|out of time)/],
    ['503', { manifest: always(answers(503)) }, 'NETWORK', /Cannot push manifest 1 .* answered 503/],
    ['403', { start: always(answers(403)) }, 'DENIED', /answered 403/],
    ['429', { start: always(answers(429)) }, 'RATE_LIMITED', /answered 429/],
    ['413', { chunk: always(answers(413)) }, 'PROTOCOL', /answered 413/],
  ]
  for (const [name, faults, code, message] of rows) {
    test(`${name} ends the push, and names nothing`, row, async () => {
      await using registry = await startUploadRegistry(faults)
      const error = await failure(push(registry), code)
      assert.match(error.message, message)
      assert.equal(registry.manifests.size, 0)
      if (name === '413') assert.match(error.hint ?? '', /--chunk-size/)
    })
  }
})

describe('chunks', () => {
  test('no request brings more than was asked for, and the blob is read once', row, async () => {
    await using registry = await startUploadRegistry()
    const image = layeredSource([{ name: 'large', data: randomBytes(4_500_000) }])
    await push(registry, image, { chunkSize: 1_500_000 })
    assertComplete(registry)
    assert.equal(registry.bodyMax, 1_500_000)
    assert.equal(image.read.filter(layer => layer === 0).length, 1)
    assert.equal(registry.seen.filter(line => line.startsWith('chunk')).length, 4)
  })

  test('a cut costs one chunk', row, async () => {
    const well: UploadFault = exchange => exchange.well()
    await using registry = await startUploadRegistry({ chunk: [well, well, breaksAfter(100_000)] })
    const { bytesCopied } = await push(registry, large, { chunkSize: 1_000_000 })
    assertComplete(registry)
    assert.ok(bytesCopied < 7_000_000, `${bytesCopied}`)
  })

  test('are as large as the registry wants them', row, async () => {
    await using registry = await startUploadRegistry({}, { chunkMin: 2_000_000 })
    await push(registry, large, { chunkSize: 100_000 })
    assertComplete(registry)
    assert.equal(registry.bodyMax, 2_000_000)
  })

  test('of which a registry took a part go on there', row, async () => {
    const part: UploadFault = async ({ request, response, take, received }) => {
      await take(300_000)
      for await (const _ of request as AsyncIterable<Buffer>);
      response.writeHead(202, { location: request.url ?? '', range: `0-${received() - 1}` }).end()
    }
    await using registry = await startUploadRegistry({ chunk: [part] })
    await push(registry, large, { chunkSize: 1_000_000 })
    assertComplete(registry)
    assert.match(registry.seen.filter(line => line.startsWith('chunk'))[1] ?? '', /^chunk 300000-1299999$/)
  })

  test('docker-registry takes them', row, async () => {
    await using registry = await startDockerRegistry()
    await push(registry, large, { chunkSize: 1_000_000 })
    assert.ok(registry.log.filter(line => line.includes('"PATCH /v2/')).length >= 5)
  })
})

describe('a registry that lies', () => {
  test('about the offset of an upload gets the blob anew', row, async () => {
    const lie: UploadFault = ({ response, request }) =>
      void response.writeHead(204, { location: request.url ?? '', range: '0-2999999' }).end()
    await using registry = await startUploadRegistry({ chunk: [breaksAfter(1_000_000)], status: [lie] })
    const { warnings } = await push(registry)
    assertComplete(registry)
    assert.ok(
      warnings.some(message => message.includes('it begins anew')),
      warnings.join('\n'),
    )
  })

  test('about the offset of a chunk is not believed', row, async () => {
    const lie: UploadFault = async ({ request, response, take }) => {
      await take()
      response.writeHead(202, { location: request.url ?? '', range: '0-4999999' }).end()
    }
    await using registry = await startUploadRegistry({ chunk: Array.from({ length: 20 }, () => lie) })
    const error = await failure(push(registry, large, { chunkSize: 1_000_000 }), 'PROTOCOL')
    assert.match(error.message, /says that it has 5000000 bytes after bytes 0 to 999999/)
  })

  test('about the digest of a blob is not believed', row, async () => {
    const other = `sha256:${'1'.repeat(64)}`
    await using registry = await startUploadRegistry({ finish: [answers(201, { 'docker-content-digest': other })] })
    const error = await failure(push(registry), 'DIGEST_MISMATCH')
    assert.match(error.message, /stored it as sha256:1111/)
    assert.equal(registry.manifests.size, 0)
  })

  test('that bytes were wrong that are right is told', row, async () => {
    const errors = JSON.stringify({ errors: [{ code: 'DIGEST_INVALID', message: 'provided digest did not match' }] })
    await using registry = await startUploadRegistry({ finish: [answers(400, {}, errors)] })
    assert.match((await failure(push(registry), 'PROTOCOL')).message, /answered 400 \(provided digest did not match\)/)
  })
})

describe('where an upload is sent to', () => {
  const credentials = { find: async () => ({ username: 'test', password: 'secret' }) }
  const asks = answers(401, { 'www-authenticate': 'Basic realm="test"' })

  test('another host gets the bytes, and never the credentials', row, async () => {
    await using other = await startUploadRegistry()
    const elsewhere: UploadFault = ({ response }) =>
      void response.writeHead(202, { location: `http://${other.host.replace('127.0.0.1', 'localhost')}/upload` }).end()
    await using registry = await startUploadRegistry({ look: [asks], start: [elsewhere] })
    await push(registry, large, { credentials }).catch(() => {})
    assert.ok(
      registry.seen.some(line => line.includes('Basic ')),
      registry.seen.join('\n'),
    )
    assert.ok(other.seen.length > 0)
    assert.ok(!other.seen.some(line => line.includes('Basic ')), other.seen.join('\n'))
  })

  test('a redirect of what has a body is refused', row, async () => {
    await using other = await startUploadRegistry()
    const location = `http://${other.host}/elsewhere`
    await using registry = await startUploadRegistry({ chunk: [answers(307, { location })] })
    assert.match((await failure(push(registry), 'PROTOCOL')).message, /answered 307/)
    assert.deepEqual(other.seen, [])
  })

  test('a token that expires in the middle is renewed, and the upload goes on', row, async () => {
    const refuses: UploadFault = async ({ response }) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"', connection: 'close' }).end()
    }
    for (const fault of [asks, refuses]) {
      await using registry = await startUploadRegistry({ chunk: [fault] })
      await push(registry, large, { credentials })
      assertComplete(registry)
      assert.ok(registry.seen.some(line => /^finish.*Basic /.test(line)))
    }
  })
})

test('a registry whose disk is full says so, and nothing gets the name', row, async () => {
  await using disk = await openLoopFilesystem({ sizeBytes: 24 * 2 ** 20 })
  await using registry = await startDockerRegistry({ storage: disk.directory })
  const error = await failure(push(registry, layeredSource([{ name: 'a', data: randomBytes(40_000_000) }])), 'NETWORK')
  assert.match(error.message, /answered 50\d|lost 127/)
  const answer = await fetch(`${registry.url}/v2/app/manifests/1`)
  assert.equal(answer.status, 404)
})
