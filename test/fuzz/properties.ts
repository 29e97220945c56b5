import assert from 'node:assert/strict'
import fc from 'fast-check'
import { WindlassError } from '../../src/errors.ts'
import { cleanName, parseWhiteout } from '../../src/layer/names.ts'
import { chainIds, imageLayers, parseImageConfig } from '../../src/oci/image-config.ts'
import { parseDocument } from '../../src/oci/manifest.ts'
import { formatReference, parseReference } from '../../src/oci/reference.ts'
import { type Challenge, parseChallenges } from '../../src/places/registry/challenge.ts'
import type { HttpRequest, HttpResponse } from '../../src/places/registry/http.ts'
import { checkBlobAnswer } from '../../src/places/registry/range.ts'
import { judgeRealm } from '../../src/places/registry/realm.ts'
import { parsePax } from '../../src/tar/pax.ts'
import { readTar } from '../memory-source.ts'
import { damagedArchive } from './archives.ts'

/** What holds for any input of a stranger's. `check` throws where it does not. */
export interface Property {
  readonly name: string
  readonly run: (parameters: { numRuns: number; seed: number }) => void
}

/** @returns the number of inputs. @throws what fast-check reports, with the smallest input that fails and the seed */
export function runProperty(property: Property, { runs, seed }: { runs: number; seed: number }): number {
  property.run({ numRuns: runs, seed })
  return runs
}

function property<T>(name: string, input: fc.Arbitrary<T>, check: (value: T) => void): Property {
  return {
    name,
    run: parameters =>
      fc.assert(
        fc.property(input, value => {
          check(value)
        }),
        parameters,
      ),
  }
}

/** The value, or undefined where windlass refuses; anything but an error of windlass' own, in one harmless line, is a fault. */
function orRefused<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    assert.ok(error instanceof WindlassError, String(error))
    assert.doesNotMatch(error.message, /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/)
    assert.ok(error.message.length < 20_000)
    return undefined
  }
}

const digest = `sha256:${'0a'.repeat(32)}`
const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 100 }
const manifest = {
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  config: { ...descriptor, mediaType: 'application/vnd.oci.image.config.v1+json' },
  layers: [descriptor, descriptor],
  annotations: { a: 'b' },
}
const index = {
  schemaVersion: 2,
  manifests: [{ ...descriptor, mediaType: manifest.mediaType, platform: { os: 'linux', architecture: 'arm64' } }],
}
const config = {
  architecture: 'amd64',
  os: 'linux',
  created: '2026-01-01T00:00:00Z',
  config: { User: 'app', Env: ['A=b'], Cmd: ['sh'], Labels: { a: 'b' }, ExposedPorts: { '80/tcp': {} } },
  rootfs: { type: 'layers', diff_ids: [digest, digest] },
  history: [{ created_by: 'x' }, { empty_layer: true }],
}

/** A document in which some values are others, keys are doubled or misspelt, or some bytes are gone. */
function damagedJson(documents: readonly object[]): fc.Arbitrary<Buffer> {
  const value = fc.oneof(fc.jsonValue(), fc.constantFrom(null, -1, 2 ** 53, 1e308, '', '__proto__', digest, [], {}))
  const texts = documents.map(document => JSON.stringify(document))
  return fc
    .record({
      text: fc.constantFrom(...texts),
      places: fc.array(fc.tuple(fc.nat(60), value), { maxLength: 3 }),
      cuts: fc.array(fc.tuple(fc.nat(2000), fc.nat(8), fc.uint8Array({ maxLength: 4 })), { maxLength: 2 }),
    })
    .map(({ text, places, cuts }) => {
      let bytes = Buffer.from(places.reduce(replaceValue, text))
      for (const [at, length, put] of cuts) {
        const from = at % (bytes.length + 1)
        bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + length)])
      }
      return bytes
    })
}

/** Puts a value in the place of the n-th one. */
function replaceValue(text: string, [n, value]: [number, unknown]): string {
  let count = 0
  const parsed: unknown = JSON.parse(text, (_, old: unknown) => (count++ === n ? value : old))
  return JSON.stringify(parsed)
}

const request: HttpRequest = {
  method: 'GET',
  url: new URL('https://registry.example/'),
  headers: {},
  signal: new AbortController().signal,
  doing: 'Cannot read blob',
}
const number = fc.oneof(fc.nat(30).map(String), fc.constantFrom('', '-1', '1e1', '0x5', '99999999999999999999', '*'))
const contentRange = fc.oneof(
  fc.string(),
  fc
    .tuple(fc.constantFrom('bytes ', 'Bytes ', 'bytes', 'bytes=', ' bytes  '), number, number, number)
    .map(([unit, first, last, size]) => `${unit}${first}-${last}/${size}`),
)

const referencePart = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom(
    'debian',
    'localhost',
    '[::1]',
    '127.0.0.1',
    ':5000',
    '/',
    '..',
    '@',
    digest,
    ':v1',
    '%2f',
    '\0',
    'A',
    'é',
  ),
)

const hostName = fc.constantFrom(
  'registry.example',
  'auth.registry.example',
  'evil.test',
  '127.0.0.1',
  'localhost',
  '[::1]',
  'a.github.io',
  'b.github.io',
  'example',
  'co.uk',
  'x.co.uk',
  'y.co.uk',
)
const url = fc
  .tuple(fc.constantFrom('http', 'https'), hostName, fc.constantFrom('', ':443', ':5000'))
  .map(([scheme, host, port]) => new URL(`${scheme}://${host}${port}/`))

/** What a tar may name, in every spelling. */
const anyName = fc
  .array(fc.constantFrom('.', '..', '/', '//', 'a', '.wh.', '.wh..wh..opq', '\xff', '\n', ' ', '...'), {
    maxLength: 12,
  })
  .map(parts => parts.join(''))

export const properties: readonly Property[] = [
  property('tar: any bytes', fc.uint8Array({ maxLength: 3000 }), bytes => orRefused(() => readTar(bytes))),
  property(
    'tar: damaged archives, whole and in pieces',
    fc.tuple(damagedArchive, fc.integer({ min: 1, max: 700 })),
    ([bytes, chunkMax]) => {
      const whole = orRefused(() => readTar(bytes))
      assert.deepEqual(
        orRefused(() => readTar(bytes, { chunkMax })),
        whole,
      )
    },
  ),
  property(
    'PAX: any bytes',
    fc.oneof(
      fc.uint8Array(),
      fc
        .array(fc.constantFrom('12 ', '9', 'path=', 'size=', '\n', '\0', '='), { maxLength: 20 })
        .map(parts => Buffer.from(parts.join(''))),
    ),
    bytes => {
      orRefused(() => parsePax(bytes))
    },
  ),
  property('names of a layer', anyName, name => {
    const clean = cleanName(name)
    assert.equal(cleanName(clean), clean)
    assert.ok(clean === '' || clean.split('/').every(part => part !== '' && part !== '.' && part !== '..'), clean)
    const whiteout = orRefused(() => parseWhiteout(clean))
    if (whiteout?.kind === 'whiteout') assert.doesNotMatch(whiteout.hidden, /^\.{0,2}$|\//)
  }),
  property(
    'references',
    fc.array(referencePart, { maxLength: 8 }).map(parts => parts.join('')),
    text => {
      const reference = orRefused(() => parseReference(text))
      if (reference === undefined) return
      assert.deepEqual(parseReference(formatReference(reference)), reference)
      assert.doesNotMatch(`${reference.path}/${reference.tag ?? ''}`, /\.\.\/|\/\.\.|[\0\s%?#\\]/)
    },
  ),
  property('manifests and indexes', damagedJson([manifest, index]), bytes => {
    const document = orRefused(() => parseDocument(bytes))
    const named =
      document === undefined
        ? []
        : document.kind === 'index'
          ? document.manifests
          : [document.config, ...document.layers]
    for (const { digest, size } of named) {
      assert.match(digest, /^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$/)
      assert.ok(Number.isSafeInteger(size) && size >= 0)
    }
  }),
  property('image configs', damagedJson([config]), bytes => {
    const parsed = orRefused(() => parseImageConfig(bytes))
    const image = orRefused(() => parseDocument(Buffer.from(JSON.stringify(manifest))))
    if (parsed === undefined || image?.kind !== 'manifest') return
    const layers = orRefused(() => imageLayers(image, parsed)) ?? []
    assert.equal(chainIds(layers.map(({ diffId }) => diffId)).length, layers.length)
  }),
  property(
    'challenges',
    fc.oneof(
      fc.string(),
      fc
        .array(fc.constantFrom('"', '\\', ',', ' ', '=', 'a', 'Bearer ', 'realm=', '\t', '\0'), { maxLength: 40 })
        .map(parts => parts.join('')),
    ),
    text => {
      const challenges: readonly Challenge[] = parseChallenges(text)
      assert.ok(challenges.length <= text.length)
    },
  ),
  property('Content-Range', fc.tuple(contentRange, fc.nat(30), fc.nat(30), fc.nat(30)), ([header, ...numbers]) => {
    const [offset = 0, end = 0, size = 0] = numbers.toSorted((a, b) => a - b)
    const response = {
      status: 206,
      headers: { 'content-range': header },
      url: request.url,
      body: { destroy: () => {} },
    } as unknown as HttpResponse
    const start = orRefused(() => checkBlobAnswer(response, request, { offset, end, size }))
    // What is taken is appended at the offset: it must be exactly what was asked for.
    if (start === undefined) return
    assert.equal(start, offset)
    assert.equal(header.trim(), `bytes ${[offset, end - 1].map(n => String(n).padStart(1)).join('-')}/${size}`)
  }),
  property('realms', fc.tuple(url, url), ([registry, realm]) => {
    const verdict = judgeRealm(registry, realm, [])
    const isLocal = (host: string): boolean => ['127.0.0.1', 'localhost', '[::1]'].includes(host)
    if (registry.protocol === 'https:' && realm.protocol === 'http:') assert.equal(verdict, 'refused')
    if (isLocal(realm.hostname) && !isLocal(registry.hostname)) assert.equal(verdict, 'refused')
    if (realm.hostname === 'evil.test' && registry.hostname !== 'evil.test') assert.notEqual(verdict, 'credentials')
    if (realm.hostname === 'a.github.io' && registry.hostname === 'b.github.io') assert.notEqual(verdict, 'credentials')
    if (realm.hostname === 'x.co.uk' && registry.hostname === 'y.co.uk') assert.notEqual(verdict, 'credentials')
  }),
]
