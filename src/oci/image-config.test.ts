import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { WindlassError } from '../errors.ts'
import { type Digest, parseDigest } from './digest.ts'
import { chainIds, imageConfigSizeMax, imageLayers, parseImageConfig } from './image-config.ts'
import { parseDocument } from './manifest.ts'
import { mediaTypes } from './media-types.ts'

const a = parseDigest(`sha256:${'a'.repeat(64)}`)
const b = parseDigest(`sha256:${'b'.repeat(64)}`)
const c = parseDigest(`sha256:${'c'.repeat(64)}`)

const minimal = { architecture: 'arm64', os: 'linux', rootfs: { type: 'layers', diff_ids: [a, b] } }

function read(document: unknown) {
  return parseImageConfig(new TextEncoder().encode(typeof document === 'string' ? document : JSON.stringify(document)))
}

describe('parseImageConfig', () => {
  it('reads what windlass uses and drops the rest', () => {
    const config = {
      User: '1000:100',
      Env: ['PATH=/bin', 'A='],
      Entrypoint: ['/init'],
      Cmd: ['a', ''],
      WorkingDir: '/work',
      Labels: { a: 'b' },
      StopSignal: 'SIGTERM',
    }
    const history = [
      { created: 'x', created_by: 'y', comment: 'z' },
      { empty_layer: true, author: 'w' },
    ]
    const document = { ...minimal, variant: 'v8', created: '2024-01-01T00:00:00Z', author: 'me', config, history }
    const extra = { ...config, ExposedPorts: { '80/tcp': {} }, Volumes: { '/data': {} }, Healthcheck: { Test: [] } }
    assert.deepEqual(read({ ...document, config: extra, docker_version: '19.03.15', container_config: { Cmd: 1 } }), {
      ...document,
      config: { ...config, ExposedPorts: ['80/tcp'], Volumes: ['/data'] },
    })
  })

  it('takes null for absent, as docker writes it', () => {
    const nulls = { User: '', Env: null, Entrypoint: null, Cmd: null, Labels: null, ExposedPorts: null, Volumes: null }
    const rootfs = { type: 'layers', diff_ids: null }
    assert.deepEqual(read({ ...minimal, rootfs, config: nulls, history: null, author: null, created: null }), {
      architecture: 'arm64',
      os: 'linux',
      config: { User: '' },
      rootfs: { type: 'layers', diff_ids: [] },
      history: [],
    })
    assert.deepEqual(read({ ...minimal, config: null }).config, {})
  })

  it('reads a command that is a plain string, as docker does', () => {
    assert.deepEqual(read({ ...minimal, config: { Entrypoint: 'sh', Cmd: '' } }).config, {
      Entrypoint: ['sh'],
      Cmd: [''],
    })
  })

  it('takes linux for an os that is not given', () => {
    for (const names of [{}, { os: '', architecture: '' }, { os: null, architecture: null }]) {
      const { os, architecture } = read({ ...names, rootfs: {} })
      assert.deepEqual([os, architecture], ['linux', 'unknown'])
    }
  })

  it('keeps labels named __proto__ and constructor apart from objects', () => {
    const text = JSON.stringify({ ...minimal, config: {} }).replace(
      '"config":{',
      '"config":{"Labels":{"__proto__":"x","constructor":"y"}',
    )
    const { Labels } = read(text).config
    assert.deepEqual(Object.entries(Labels ?? {}), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
    assert.equal(Object.getPrototypeOf(Labels), Object.prototype)
  })

  const refused: [string, unknown, RegExp][] = [
    ['no object', [], /object is needed/],
    ['no rootfs', { os: 'linux' }, /rootfs is missing/],
    ['another rootfs type', { rootfs: { type: 'layers+base' } }, /rootfs.type: it is "layers\+base"/],
    ['diff_ids that are no list', { rootfs: { diff_ids: {} } }, /diff_ids: it is an object; a list/],
    [
      'a diff_id that is no digest',
      { rootfs: { diff_ids: [a, 'sha256:../..'] } },
      /diff_ids\[1\]: it is "sha256:..\/.."/,
    ],
    ['an os that is no string', { ...minimal, os: 1 }, /os: it is 1; a string/],
    ['a config that is a list', { ...minimal, config: [] }, /config: it is a list; an object/],
    ['an Env that is a map', { ...minimal, config: { Env: { A: 'b' } } }, /Env: it is an object; a list/],
    ['an Env of numbers', { ...minimal, config: { Env: [1] } }, /Env\[0\]: it is 1; a string/],
    ['a Cmd with nulls', { ...minimal, config: { Cmd: [null] } }, /Cmd\[0\]: it is null; a string/],
    ['a User that is a number', { ...minimal, config: { User: 0 } }, /User: it is 0; a string/],
    ['Labels that are no strings', { ...minimal, config: { Labels: { a: 1 } } }, /Labels\["a"\]: it is 1; a string/],
    ['history that is no list', { ...minimal, history: {} }, /history: it is an object; a list/],
    ['an empty_layer that is a word', { ...minimal, history: [{ empty_layer: 'yes' }] }, /empty_layer: it is "yes"/],
  ]
  for (const [name, document, pattern] of refused) {
    it(`refuses ${name}`, () => assert.throws(() => read(document), { code: 'CORRUPT', message: pattern }))
  }

  it('reads a key in another case as Go does, where nothing else stands for it', () => {
    const text = `{"OS":"windows","Rootfs":{"Diff_IDs":["${a}"]},"Config":{"EntryPoint":["/init"],"uſer":"0","cmd":["a"]}}`
    const { os, rootfs, config } = read(text)
    assert.deepEqual([os, rootfs.diff_ids], ['windows', [a]])
    assert.deepEqual(config, { User: '0', Entrypoint: ['/init'], Cmd: ['a'] })
  })

  const twofold: [string, RegExp][] = [
    ['"config":{"User":"1000","user":"0"}', /its keys "User" and "user" are one/],
    ['"config":{"EnV":[],"env":[]}', /config: its keys "EnV" and "env" are one/],
    ['"config":{"user":null,"uſer":"0"}', /its keys "user" and "uſer" are one/],
    ['"rootfs":{"diff_ids":[],"Diff_ids":[]}', /rootfs: its keys "diff_ids" and "Diff_ids" are one/],
    ['"Config":{},"config":{}', /its keys "Config" and "config" are one/],
    ['"os":"linux","OS":"windows"', /its keys "os" and "OS" are one/],
  ]
  for (const [text, message] of twofold) {
    it(`refuses keys that are one to Go: ${text}`, () => {
      assert.throws(() => read(text.startsWith('"rootfs"') ? `{${text}}` : `{"rootfs":{},${text}}`), {
        code: 'CORRUPT',
        message,
      })
    })
  }

  it('refuses a key that stands twice', () => {
    const text = '{"rootfs":{},"config":{"User":"1000","User":"0"}}'
    assert.throws(() => read(text), { code: 'CORRUPT', message: /"User" stands twice/ })
  })

  it('takes what real builders write beside it, and labels that differ in case alone', () => {
    const Labels = { a: 'x', A: 'y', user: 'z', User: 'w' }
    const config = { Hostname: '', Domainname: '', User: '', Image: '', OnBuild: null, ArgsEscaped: true, Labels }
    const others = { id: 'x', container: 'y', container_config: config, docker_version: '', parent: '', Size: 1 }
    const document = {
      ...minimal,
      ...others,
      config,
      'moby.buildkit.buildinfo.v1': 'e30=',
      'moby.buildkit.cache.v0': 'x',
    }
    assert.deepEqual(read(document).config, { User: '', Labels })
  })

  it('refuses more bytes than any image needs', () => {
    assert.throws(() => parseImageConfig(new Uint8Array(imageConfigSizeMax + 1)), { code: 'LIMIT_EXCEEDED' })
  })

  it('throws nothing but WindlassErrors', () => {
    const onlyWindlassErrors = (act: () => unknown) => {
      try {
        act()
      } catch (error) {
        assert.ok(error instanceof WindlassError, String(error))
      }
    }
    const keys = fc.constantFrom('os', 'config', 'rootfs', 'history', 'os.features', 'created')
    const inner = fc.constantFrom('Env', 'Cmd', 'Labels', 'Volumes', 'User')
    fc.assert(
      fc.property(keys, inner, fc.jsonValue(), fc.uint8Array(), (key, innerKey, value, bytes) => {
        onlyWindlassErrors(() => read({ ...minimal, [key]: value }))
        onlyWindlassErrors(() => read({ ...minimal, config: { [innerKey]: value } }))
        onlyWindlassErrors(() => parseImageConfig(bytes))
      }),
      { numRuns: 500 },
    )
  })
})

describe('chainIds', () => {
  // printf '%s %s' sha256:aa… sha256:bb… | sha256sum, and so on
  const ab = 'sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c'
  const abc = 'sha256:c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588'

  it('begins with the diffId of the base and hashes each layer onto the chain below it', () => {
    assert.deepEqual(chainIds([]), [])
    assert.deepEqual(chainIds([a]), [a])
    assert.deepEqual(chainIds([a, b, c]), [a, ab, abc])
  })

  it('names a layer by all below it', () => {
    assert.notEqual(chainIds([a, c])[1], chainIds([b, c])[1])
    assert.deepEqual(chainIds([a, b, c]).slice(0, 2), chainIds([a, b]))
  })
})

describe('imageLayers', () => {
  const layer = (digest: Digest) => ({ mediaType: mediaTypes.ociLayerGzip, digest, size: 1 })
  const manifest = parseDocument(
    new TextEncoder().encode(
      JSON.stringify({
        schemaVersion: 2,
        config: { ...layer(a), mediaType: mediaTypes.ociConfig },
        layers: [layer(b), layer(c)],
      }),
    ),
  )
  assert.ok(manifest.kind === 'manifest')

  it('pairs blobs, diffIds and chainIds from the base upwards', () => {
    const config = read(minimal)
    assert.deepEqual(imageLayers(manifest, config), [
      { descriptor: layer(b), diffId: a, chainId: a },
      { descriptor: layer(c), diffId: b, chainId: chainIds([a, b])[1] },
    ])
  })

  it('refuses a config that promises another number of layers', () => {
    const config = read({ ...minimal, rootfs: { diff_ids: [a] } })
    assert.throws(() => imageLayers(manifest, config), {
      code: 'CORRUPT',
      message: /1 diff_ids; the manifest has 2 layers/,
    })
  })
})
