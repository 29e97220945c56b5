import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type ErrorCode, WindlassError } from '../errors.ts'
import { type DocumentOrigin, manifestSizeMax, parseDocument } from './manifest.ts'
import { mediaTypes } from './media-types.ts'

const digest = `sha256:${'ab'.repeat(32)}`
const config = { mediaType: mediaTypes.ociConfig, digest, size: 7 }
const layer = { mediaType: mediaTypes.ociLayerGzip, digest, size: 1 }
const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] }
const entry = { mediaType: mediaTypes.ociManifest, digest, size: 3, platform: { os: 'linux', architecture: 'arm64' } }
const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }

function read(document: unknown, origin?: DocumentOrigin) {
  const text = typeof document === 'string' ? document : JSON.stringify(document)
  return parseDocument(new TextEncoder().encode(text), origin)
}

function refuses(code: ErrorCode, pattern: RegExp, document: unknown, origin?: DocumentOrigin): void {
  assert.throws(
    () => read(document, origin),
    (error: unknown) => {
      assert.ok(error instanceof WindlassError, String(error))
      assert.equal(error.code, code)
      assert.match(error.message, pattern)
      assert.match(error.message, /^Cannot read manifest[^\n]*$/)
      return true
    },
  )
}

describe('parseDocument', () => {
  it('reads an OCI manifest', () => {
    assert.deepEqual(read(manifest), { kind: 'manifest', mediaType: mediaTypes.ociManifest, config, layers: [layer] })
  })

  it('reads a docker manifest and a docker list', () => {
    assert.equal(read({ ...manifest, mediaType: mediaTypes.dockerManifest }).mediaType, mediaTypes.dockerManifest)
    assert.equal(read({ ...index, mediaType: mediaTypes.dockerList }).kind, 'index')
  })

  it('reads an index with every field of its descriptors, and drops what it does not know', () => {
    const platform = {
      os: 'windows',
      architecture: 'arm',
      variant: 'v7',
      'os.version': '10.0.1',
      'os.features': ['win32k'],
    }
    const full = { ...entry, platform, annotations: { a: 'b' }, urls: ['https://x/'], artifactType: 'a/b' }
    assert.deepEqual(read({ ...index, manifests: [{ ...full, data: 'eA==' }], annotations: { c: 'd' }, x: 1 }), {
      kind: 'index',
      mediaType: mediaTypes.ociIndex,
      manifests: [full],
      annotations: { c: 'd' },
    })
  })

  it('reads an artifact as a manifest', () => {
    const empty = { ...config, mediaType: mediaTypes.ociEmpty }
    const document = { ...manifest, config: empty, artifactType: 'a/b', subject: entry }
    assert.deepEqual(read(document), {
      kind: 'manifest',
      mediaType: manifest.mediaType,
      config: empty,
      layers: [layer],
      artifactType: 'a/b',
      subject: entry,
    })
  })

  it('takes null for absent, as Go writes it', () => {
    assert.deepEqual(read({ ...manifest, layers: null, annotations: null, manifests: null }), {
      kind: 'manifest',
      mediaType: manifest.mediaType,
      config,
      layers: [],
    })
    assert.deepEqual(read({ ...index, manifests: null }), { kind: 'index', mediaType: index.mediaType, manifests: [] })
  })

  it('calls a platform without names unknown', () => {
    const read1 = read({ ...index, manifests: [{ ...entry, platform: { os: '' } }] })
    assert.deepEqual(read1.kind === 'index' && read1.manifests[0]?.platform, { os: 'unknown', architecture: 'unknown' })
  })

  it('infers the type from the fields where nothing names it', () => {
    const { mediaType: _, ...bare } = manifest
    assert.equal(read(bare).mediaType, mediaTypes.ociManifest)
    assert.equal(read(bare, { contentType: 'application/json' }).mediaType, mediaTypes.ociManifest)
    assert.equal(read(bare, { contentType: mediaTypes.dockerManifest }).mediaType, mediaTypes.dockerManifest)
    assert.equal(read({ schemaVersion: 2, manifests: [] }).kind, 'index')
    refuses('CORRUPT', /neither manifests nor config/, { schemaVersion: 2 })
  })

  it('takes annotations that differ in case alone', () => {
    const annotations = { a: 'x', A: 'y', digest: 'z', Digest: 'w' }
    const document = read({ ...manifest, annotations, layers: [{ ...layer, annotations }] })
    assert.deepEqual(document.annotations, annotations)
    assert.deepEqual(document.kind === 'manifest' && document.layers[0]?.annotations, annotations)
  })

  it('keeps a key named __proto__ a key', () => {
    const text = JSON.stringify(manifest).replace('{', '{"__proto__":{"manifests":[]},"annotations":{"__proto__":"x"},')
    const { annotations } = read(text)
    assert.deepEqual(Object.entries(annotations ?? {}), [['__proto__', 'x']])
  })
})

describe('media-type confusion', () => {
  it('refuses a document that is both an index and a manifest', () => {
    refuses('CORRUPT', /both manifests and layers, config/, { ...manifest, manifests: [] })
    refuses('CORRUPT', /both manifests and config/, { ...index, config })
    refuses('CORRUPT', /both manifests and layers/, { ...index, layers: [] })
    refuses('CORRUPT', /both manifests and fsLayers/, { ...index, fsLayers: [] })
    refuses('CORRUPT', /layers, config, fsLayers; it must be of one schema/, { ...manifest, fsLayers: [] })
  })

  it('refuses fields that belong to another type than the declared one', () => {
    refuses('CORRUPT', /but it has manifests/, { ...index, mediaType: mediaTypes.ociManifest })
    refuses('CORRUPT', /neither config nor layers/, { ...manifest, manifests: null, mediaType: mediaTypes.ociIndex })
    refuses('CORRUPT', /which has manifests/, { schemaVersion: 2, mediaType: mediaTypes.ociIndex })
    refuses('CORRUPT', /manifest.config: it is missing/, { schemaVersion: 2, mediaType: mediaTypes.ociManifest })
  })

  it('refuses keys that docker would read and we would not', () => {
    refuses('CORRUPT', /"Manifests"; the specification says "manifests"/, { ...manifest, Manifests: [] })
    refuses('CORRUPT', /"LAYERS"/, { ...index, LAYERS: [] })
  })

  it('refuses a key that stands twice, at any depth and however it is escaped', () => {
    const text = JSON.stringify(manifest)
    refuses('CORRUPT', /"layers" stands twice/, text.replace('{', '{"layers":[],'))
    refuses('CORRUPT', /"layers" stands twice/, text.replace('{', '{"l\\u0061yers":[],'))
    refuses('CORRUPT', /"size" stands twice/, text.replace('"size":1', '"size":1,"size":2'))
    assert.equal(read(text.replace('{', '{"a":"\\"a\\":,{","b":"\\\\",')).kind, 'manifest')
  })

  it('refuses Content-Type or descriptor that disagree with the body', () => {
    refuses('CORRUPT', /its mediaType says .*its Content-Type says/, manifest, { contentType: mediaTypes.ociIndex })
    refuses('CORRUPT', /its descriptor says/, manifest, { descriptor: { mediaType: mediaTypes.dockerManifest } })
    const { mediaType: _, ...bare } = manifest
    const origin = { contentType: mediaTypes.ociManifest, descriptor: { mediaType: mediaTypes.dockerManifest } }
    refuses('CORRUPT', /its Content-Type says .*its descriptor says/, bare, origin)
    refuses('CORRUPT', /its Content-Type says "text\/html"/, manifest, { contentType: 'text/html' })
    refuses('UNSUPPORTED', /text\/html/, bare, { contentType: 'text/html' })
  })

  it('lets the body decide under a generic Content-Type', () => {
    for (const contentType of [
      'application/json',
      'application/octet-stream',
      'binary/octet-stream',
      'text/plain',
      '',
    ]) {
      assert.equal(read(manifest, { contentType }).mediaType, mediaTypes.ociManifest)
    }
    const contentType = `${mediaTypes.ociManifest.toUpperCase()}; charset=utf-8`
    assert.equal(read(manifest, { contentType }).mediaType, mediaTypes.ociManifest)
  })
})

describe('what parseDocument refuses', () => {
  it('schema 1, with a way out', () => {
    for (const [document, origin] of [
      [{ schemaVersion: 1, fsLayers: [], history: [] }, {}],
      [{ schemaVersion: 1 }, { contentType: mediaTypes.schema1Signed }],
      [{ schemaVersion: 2, fsLayers: [] }, {}],
      [{ schemaVersion: 2 }, { contentType: mediaTypes.schema1 }],
    ] as const) {
      refuses('UNSUPPORTED', /docker schema 1/, document, origin)
    }
    assert.throws(() => read({ schemaVersion: 1 }), { hint: /recent docker/ })
  })

  it('other schema versions and other documents', () => {
    refuses('CORRUPT', /schemaVersion is 3; 2/, { ...manifest, schemaVersion: 3 })
    refuses('CORRUPT', /schemaVersion is "2"; 2/, { ...manifest, schemaVersion: '2' })
    refuses('CORRUPT', /schemaVersion is missing; 2/, { config, layers: [] })
    refuses('UNSUPPORTED', /artifact.manifest/, {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.artifact.manifest.v1+json',
    })
  })

  it('what is no JSON object, no UTF-8, or too large', () => {
    for (const text of ['', '[]', 'null', '"x"', '{', '<html>', '\ufeff{}'])
      refuses('CORRUPT', /JSON|object is needed/, text)
    assert.throws(() => parseDocument(new Uint8Array([0x7b, 0xff, 0x7d])), { code: 'CORRUPT', message: /UTF-8/ })
    assert.throws(() => parseDocument(new Uint8Array(manifestSizeMax + 1)), { code: 'LIMIT_EXCEEDED' })
    refuses('CORRUPT', /JSON/, '['.repeat(1_000_000))
    refuses('CORRUPT', /object is needed/, '['.repeat(1_000_000) + ']'.repeat(1_000_000))
  })

  const badDescriptors: [string, object, RegExp][] = [
    ['no digest', { digest: undefined }, /digest: it is missing/],
    ['an upper-case digest', { digest: digest.toUpperCase() }, /layers\[0\]\.digest/],
    ['a digest that is a path', { digest: 'sha256:../../etc/passwd' }, /layers\[0\]\.digest/],
    ['a path as long as a digest', { digest: `sha256:${'../'.repeat(21)}x` }, /layers\[0\]\.digest/],
    ['a digest that is too short', { digest: digest.slice(0, -1) }, /layers\[0\]\.digest/],
    ['a digest of an unknown algorithm', { digest: `md5:${'a'.repeat(32)}` }, /layers\[0\]\.digest/],
    ['a list as digest', { digest: [digest] }, /layers\[0\]\.digest/],
    ['no size', { size: undefined }, /size is missing/],
    ['a negative size', { size: -1 }, /size is -1/],
    ['a fractional size', { size: 1.5 }, /size is 1.5/],
    ['a size beyond exactness', { size: 2 ** 53 }, /size is 9007199254740992/],
    ['a size as text', { size: '1' }, /size is "1"/],
    ['a size with its own toString', { size: { toString: 1, valueOf: 1 } }, /size is an object/],
    ['no mediaType', { mediaType: undefined }, /mediaType is missing/],
    ['a mediaType with control characters', { mediaType: 'a/b\u001b[2J\n' }, /mediaType is "a\/b\\u001b\[2J\\n"/],
    ['urls that are no list', { urls: 'https://x/' }, /urls: it is "https:\/\/x\/"; a list/],
    ['urls that are no strings', { urls: [1] }, /urls\[0\]: it is 1; a string/],
    ['annotations that are no strings', { annotations: { a: {} } }, /annotations\["a"\]: it is an object; a string/],
    ['a platform that is a string', { platform: 'linux' }, /platform: it is "linux"; an object/],
    ['a key that Go would take for digest', { Digest: digest }, /"Digest"; the specification says "digest"/],
    ['a key that Go would take for urls', { urlſ: [] }, /the specification says "urls"/],
    ['a platform in another case', { platform: { os: 'a', OS: 'b' } }, /platform: it has the key "OS"/],
    ['an os that is a number', { platform: { os: 1 } }, /platform.os: it is 1; a string/],
  ]
  for (const [name, fields, pattern] of badDescriptors) {
    it(`a descriptor with ${name}`, () =>
      refuses('CORRUPT', pattern, { ...manifest, layers: [{ ...layer, ...fields }] }))
  }

  it('more layers or manifests than anything can use', () => {
    assert.equal(read({ ...manifest, layers: Array(500).fill(layer) }).kind, 'manifest')
    refuses('LIMIT_EXCEEDED', /501 entries; at most 500/, { ...manifest, layers: Array(501).fill(layer) })
    const small = { mediaType: 'a/b', digest, size: 1 }
    assert.equal(read({ ...index, manifests: Array(10_000).fill(small) }).kind, 'index')
    refuses('LIMIT_EXCEEDED', /10001 entries; at most 10000/, { ...index, manifests: Array(10_001).fill(small) })
  })
})

describe('arbitrary input', () => {
  const onlyWindlassErrors = (act: () => unknown) => {
    try {
      act()
    } catch (error) {
      assert.ok(error instanceof WindlassError, String(error))
      assert.doesNotMatch(error.message, /[\u0000-\u001f\u007f-\u009f]/)
    }
  }

  it('throws nothing but WindlassErrors on bytes', () => {
    fc.assert(fc.property(fc.uint8Array(), bytes => onlyWindlassErrors(() => parseDocument(bytes))))
  })

  it('throws nothing but WindlassErrors on JSON in any place', () => {
    const field = fc.constantFrom(
      'config',
      'layers',
      'manifests',
      'mediaType',
      'schemaVersion',
      'annotations',
      'subject',
    )
    const inner = fc.constantFrom('mediaType', 'digest', 'size', 'urls', 'platform', 'annotations')
    fc.assert(
      fc.property(fc.boolean(), field, inner, fc.jsonValue(), (asIndex, outerKey, innerKey, value) => {
        const base = asIndex ? index : manifest
        onlyWindlassErrors(() => read({ ...base, [outerKey]: value }))
        onlyWindlassErrors(() => read({ ...base, layers: [{ ...layer, [innerKey]: value }] }))
        onlyWindlassErrors(() => read({ ...index, manifests: [{ ...entry, [innerKey]: value }] }))
      }),
      { numRuns: 500 },
    )
  })
})
