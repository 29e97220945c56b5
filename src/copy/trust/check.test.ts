import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { descriptorOf, pushBlob, pushManifest } from '../../../test/servers/push.ts'
import { makeSigner, pushBundle, pushSignature, type Signer } from '../../../test/signing/cosign.ts'
import { isWindlassError, WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { parseReference } from '../../oci/reference.ts'
import { noCredentials } from '../../places/registry/credentials.ts'
import { openRegistry } from '../../places/registry/registry.ts'
import { type RegistryServer, serveRegistry } from '../../server/registry-server.ts'
import { checkSignatures, openGatekeeper, readPublicKey } from './check.ts'
import type { ImageToCheck } from './gatekeeper.ts'
import type { SignedIdentity } from './identity.ts'
import { parsePolicy } from './policy.ts'

let directory: string
let registry: RegistryServer
let signer: Signer
let stranger: Signer
const retrying = { signal: new AbortController().signal }
const opened = new AsyncDisposableStack()

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-trust-'))
  registry = await serveRegistry({ directory: join(directory, 'registry') })
  signer = await makeSigner(directory)
  stranger = await makeSigner(directory)
})
after(async () => {
  await opened.disposeAsync()
  await registry.close()
  await rm(directory, { recursive: true, force: true })
})

interface Pushed extends ImageToCheck {
  readonly place: { url: string; path: string }
  readonly repository: string
  readonly manifest: Descriptor
}

let images = 0
async function pushImage(): Promise<Pushed> {
  const path = `team/app${++images}`
  const config = await pushBlob(registry.url, path, `{"n":${images}}`)
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { ...config, mediaType: mediaTypes.ociConfig },
    layers: [],
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const manifest = descriptorOf(bytes, mediaTypes.ociManifest)
  await pushManifest(registry.url, { path, reference: '1', mediaType: mediaTypes.ociManifest }, bytes.toString())
  const repository = `${registry.host}/${path}`
  const reference = parseReference(`${repository}:1`)
  const source = opened.use(openRegistry(reference, { credentials: noCredentials }))
  const documents = [{ descriptor: manifest, bytes }] as const
  return {
    name: path,
    reference,
    documents,
    sources: [source],
    place: { url: registry.url, path },
    repository,
    manifest,
  }
}

async function signedImage(by: Signer = signer): Promise<Pushed> {
  const image = await pushImage()
  await pushSignature(image.place, [{ signer: by, digest: image.manifest.digest, identity: image.repository }])
  return image
}

async function check(image: ImageToCheck, by: Signer, identity: SignedIdentity = { type: 'matchRepository' }) {
  const keys = [await readPublicKey(by.file)]
  return await checkSignatures(image, { keys, identity, mayBeNameless: true }, retrying)
}

async function assertNotSigned(image: ImageToCheck, by: Signer, message: RegExp): Promise<void> {
  await assert.rejects(check(image, by), error => {
    assert.ok(isWindlassError(error, 'SIGNATURE_INVALID'), String(error))
    assert.match(error.message, message)
    return true
  })
}

describe('signatures', () => {
  for (const kind of ['ecdsa', 'ed25519', 'rsa'] as const)
    test(`one by an ${kind} key is found under its tag`, async () => {
      const by = await makeSigner(directory, kind)
      const image = await signedImage(by)
      const [signature] = await check(image, by)
      assert.deepEqual([signature?.form, signature?.identity], ['simple signing', image.repository])
      await assertNotSigned(image, stranger, /none of its signatures counts: sha256:[0-9a-f]{64}: it is not by .*\.pub/)
    })

  test('a bundle among the referrers is one, and an attestation is none', async () => {
    const image = await pushImage()
    await pushBundle(image.place, { signer, image: image.manifest })
    assert.equal((await check(image, signer))[0]?.form, 'bundle')
    await assertNotSigned(image, stranger, /it is not by/)
    const other = await pushImage()
    await pushBundle(other.place, { signer, image: other.manifest, predicate: 'https://slsa.dev/provenance/v1' })
    await assertNotSigned(other, signer, /it is no signature but an attestation/)
    const third = await pushImage()
    await pushBundle(third.place, {
      signer,
      image: third.manifest,
      statementType: 'https://other.example/Statement/v1',
    })
    await assertNotSigned(third, signer, /its statement is of the type "https:\/\/other\.example/)
  })

  test('a bundle that a certificate vouches for is none, whatever key is in that', async () => {
    const file = join(directory, 'key.pem')
    await writeFile(file, signer.key.export({ type: 'pkcs8', format: 'pem' }))
    const args = ['req', '-x509', '-key', file, '-subj', '/CN=signer', '-days', '9', '-outform', 'DER']
    const certificate = execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] })
    const image = await pushImage()
    await pushBundle(image.place, { signer, image: image.manifest, certificate })
    await assertNotSigned(image, signer, /it is by a certificate, and not by a key/)
  })

  test('one that is larger than any signature is not fetched', async () => {
    const image = await pushImage()
    const padding = 64 * 1024
    await pushSignature(image.place, [{ signer, digest: image.manifest.digest, identity: image.repository, padding }])
    await assertNotSigned(image, signer, /it has no signature/)
  })

  test('of another image, for another name, or of another kind, none counts', async () => {
    await assertNotSigned(await pushImage(), signer, /it has no signature/)
    const one = await signedImage()
    const two = await pushImage()
    const { digest } = two.manifest
    const at = { signer, under: digest, identity: two.repository }
    await pushSignature(two.place, [
      { ...at, digest: one.manifest.digest },
      { ...at, digest, identity: 'other.example/app' },
      { ...at, digest, type: 'atomic container signature' },
    ])
    await assertNotSigned(
      two,
      signer,
      /it is of another image, sha256:.*it is for other\.example\/app; .*its type is "atomic container signature"/,
    )
    await check(two, signer, { type: 'exactRepository', dockerRepository: 'other.example/app' })
    // What hangs on one image and signs another.
    const three = await pushImage()
    await pushBundle(three.place, { signer, image: one.manifest, subject: three.manifest })
    await assertNotSigned(three, signer, /it is of another image, sha256:/)
  })

  test('one byte of the payload or of the signature is enough to make it none', async () => {
    const image = await pushImage()
    const forged = { ...signer, key: stranger.key }
    await pushSignature(image.place, [{ signer: forged, digest: image.manifest.digest, identity: image.repository }])
    await assertNotSigned(image, signer, /it is not by/)
  })

  test('a place that cannot be asked is no place without signatures', async () => {
    const image = await signedImage()
    const [source] = image.sources
    assert.ok(source)
    const broken = {
      name: 'broken',
      resolve: source.resolve,
      readDocument: source.readDocument,
      openBlob: source.openBlob,
    }
    const failing = {
      ...broken,
      listReferrers: async () => {
        throw new Error('no answer')
      },
      [Symbol.asyncDispose]: async () => {},
    }
    await assert.rejects(check({ ...image, sources: [failing] }, signer), /no answer/)
    assert.equal((await check({ ...image, sources: [failing, source] }, signer)).length, 1)
  })

  test('what is not there is asked for a bounded number of times', async () => {
    const image = await pushImage()
    const [source] = image.sources
    assert.ok(source)
    const layers = Array.from({ length: 200 }, (_, at) => ({
      ...descriptorOf(`${at}`, 'application/vnd.dev.cosign.simplesigning.v1+json'),
      annotations: { 'dev.cosignproject.cosign/signature': 'AA==' },
    }))
    const config = descriptorOf('{}', mediaTypes.ociConfig)
    const text = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers })
    const descriptor = descriptorOf(text, mediaTypes.ociManifest)
    let asked = 0
    const hostile = {
      name: 'hostile',
      resolve: source.resolve,
      readDocument: async () => ({ descriptor, bytes: Buffer.from(text) }),
      openBlob: async () => {
        asked++
        throw new WindlassError('NOT_FOUND', 'Cannot read it: it is not there')
      },
      listReferrers: async () => [{ descriptor, tag: 'any.sig' }],
      [Symbol.asyncDispose]: async () => {},
    }
    await assertNotSigned({ ...image, sources: [hostile] }, signer, /more than 64 signatures: only the first 64/)
    assert.equal(asked, 64)
  })

  test('of very many documents that refer to an image no more than 256 are looked at', async () => {
    const image = await pushImage()
    const [source] = image.sources
    assert.ok(source)
    let asked = 0
    const hostile = {
      name: 'hostile',
      resolve: source.resolve,
      readDocument: async () => {
        asked++
        throw new WindlassError('NOT_FOUND', 'Cannot read it: it is not there')
      },
      openBlob: source.openBlob,
      listReferrers: async () =>
        Array.from({ length: 300 }, (_, at) => ({ descriptor: descriptorOf(`${at}`, mediaTypes.ociManifest) })),
      [Symbol.asyncDispose]: async () => {},
    }
    await assertNotSigned({ ...image, sources: [hostile] }, signer, /more than 256 documents that refer to it/)
    assert.equal(asked, 256)
  })

  test('a signature of an index is one of what it names', async () => {
    const image = await signedImage()
    const other = await pushImage()
    const [top] = image.documents
    assert.ok(top)
    await check(
      { ...other, reference: image.reference, documents: [top, ...other.documents], sources: image.sources },
      signer,
    )
  })

  test('a signature of what an index names is none of the index', async () => {
    const image = await signedImage()
    const other = await pushImage()
    const [top] = other.documents
    const documents = [top, ...image.documents] as const
    await assertNotSigned({ ...image, documents, sources: [...image.sources, ...other.sources] }, signer, /it has no/)
  })

  test('what is damaged or too much beside a good one is left out, and told', async () => {
    const image = await pushImage()
    const at = { signer, digest: image.manifest.digest, identity: image.repository }
    await pushSignature(image.place, [
      at,
      ...Array.from({ length: 70 }, () => ({ ...at, identity: 'other.example/a' })),
    ])
    const [source] = image.sources
    assert.ok(source)
    const [listed] = (await source.listReferrers?.(image.manifest.digest, retrying.signal)) ?? []
    assert.ok(listed)
    const manifest = JSON.parse(
      Buffer.from((await source.readDocument(listed.descriptor, { sizeMax: 1e6, ...retrying })).bytes).toString(),
    )
    const damaged = manifest.layers[1].digest
    const half = {
      name: 'half',
      resolve: source.resolve,
      readDocument: source.readDocument.bind(source),
      listReferrers: async () => [listed],
      openBlob: async (descriptor: Descriptor, options: { offset: number; signal: AbortSignal }) =>
        descriptor.digest === damaged
          ? {
              bytes: (async function* () {
                yield Buffer.alloc(descriptor.size)
              })(),
            }
          : await source.openBlob(descriptor, options),
      [Symbol.asyncDispose]: async () => {},
    }
    const told: string[] = []
    const rule = { keys: [await readPublicKey(signer.file)], identity: { type: 'matchRepository' } } as const
    const asking = { ...retrying, pauseMs: 1, onSkipped: (message: string) => void told.push(message) }
    const found = await checkSignatures({ ...image, sources: [half as typeof source] }, rule, asking)
    assert.deepEqual(
      found.map(({ identity }) => identity),
      [image.repository],
    )
    assert.match(told.join('\n'), /it is damaged: .*\n.*more than 64 signatures/)
    const policy = { default: signedBy(signer, { type: 'matchRepository' }) }
    const text = await ask(policy, { ...image, sources: [half as typeof source] })
    assert.match(text ?? '', /left out: .*it is damaged/)
  })
})

describe('keys', () => {
  test('what is no public key is refused', async () => {
    const file = join(directory, 'private')
    await writeFile(file, signer.key.export({ type: 'pkcs8', format: 'pem' }))
    await assert.rejects(readPublicKey(file), /it is a private key/)
    await assert.rejects(readPublicKey('/dev/null'), /it cannot be read/)
    await assert.rejects(readPublicKey(join(directory, 'absent')), /ENOENT/)
  })
})

const accept = [{ type: 'insecureAcceptAnything' }]
const reject = [{ type: 'reject' }]

/** Asks a policy about an image. */
async function ask(rules: object, image: ImageToCheck, transport = 'docker'): Promise<string | undefined> {
  const policy = parsePolicy(Buffer.from(JSON.stringify(rules)), '/policy.json')
  const subject = { transport, reference: image.reference }
  return await openGatekeeper(policy).check(image, subject, retrying)
}

async function assertRefused(asking: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(asking, error => {
    assert.ok(isWindlassError(error, 'POLICY_REFUSED'), String(error))
    assert.match(error.message, message)
    assert.match(error.hint ?? '', /policy\.json|the file/)
    return true
  })
}

function signedBy(key: Signer, signedIdentity?: object): object[] {
  return [{ type: 'sigstoreSigned', keyPath: key.file, ...(signedIdentity !== undefined && { signedIdentity }) }]
}

describe('a policy', () => {
  test('goes by the most specific rule', async () => {
    const image = await pushImage()
    const { host } = registry
    const scopes = ['', '*.1', '*.0.1', '*.0.0.1', host, `${host}/team`, image.repository, `${image.repository}:1`]
    for (const at of scopes.keys()) {
      const docker = Object.fromEntries(scopes.slice(0, at + 1).map((scope, i) => [scope, i === at ? accept : reject]))
      assert.equal(await ask({ default: reject, transports: { docker } }, image), undefined)
    }
    await assertRefused(
      ask({ default: reject, transports: { docker: { 'other.example': accept } } }, image),
      /rule "default"/,
    )
  })

  test('lets in what its key signed, and says so', async () => {
    const image = await signedImage()
    const byDigest = { ...image, reference: { ...parseReference(`${image.repository}@${image.manifest.digest}`) } }
    assert.match(
      (await ask({ default: signedBy(signer) }, byDigest)) ?? '',
      /is signed by .*\.pub, as \/policy\.json demands/,
    )
    await assertRefused(ask({ default: signedBy(stranger) }, byDigest), /it is not by/)
    const keyData = Buffer.from(String(signer.key.export({ type: 'pkcs8', format: 'pem' }))).toString('base64')
    await assertRefused(ask({ default: [{ type: 'sigstoreSigned', keyData }] }, byDigest), /it is a private key/)
    for (const keyPath of ['/dev/null', join(directory, 'absent')])
      await assertRefused(ask({ default: [{ type: 'sigstoreSigned', keyPath }] }, byDigest), /Cannot use key \//)
  })

  test('wants the name in the signature to fit', async () => {
    const image = await signedImage()
    const { repository } = image
    const identities: readonly [object | undefined, RegExp | undefined][] = [
      [undefined, /matchRepoDigestOrExact wants .*:1/],
      [{ type: 'matchExact' }, /matchExact wants .*:1/],
      [{ type: 'matchRepository' }, undefined],
      [{ type: 'matchDigest' }, undefined],
      [{ type: 'exactRepository', dockerRepository: repository }, undefined],
      [{ type: 'exactRepository', dockerRepository: 'other.example/app' }, /exactRepository wants other\.example\/app/],
      [{ type: 'exactReference', dockerReference: `${repository}:1` }, /exactReference wants .*:1/],
      [
        { type: 'remapIdentity', prefix: registry.host, signedPrefix: 'origin.example' },
        /remapIdentity wants origin\.example/,
      ],
      // Whole parts of a name are exchanged, and team is another one.
      [
        { type: 'remapIdentity', prefix: `${registry.host}/tea`, signedPrefix: 'origin.example/tea' },
        /remapIdentity wants (?!origin)/,
      ],
    ]
    for (const [identity, message] of identities) {
      const asking = ask({ default: signedBy(signer, identity) }, image)
      if (message === undefined) await asking
      else await assertRefused(asking, message)
    }
    const mirrored = await pushImage()
    const signed = { signer, digest: mirrored.manifest.digest, identity: `origin.example/${mirrored.place.path}:1` }
    await pushSignature(mirrored.place, [signed])
    await ask(
      { default: signedBy(signer, { type: 'remapIdentity', prefix: registry.host, signedPrefix: 'origin.example' }) },
      mirrored,
    )
    const bundled = await pushImage()
    await pushBundle(bundled.place, { signer, image: bundled.manifest })
    await assertRefused(ask({ default: signedBy(signer, { type: 'matchRepository' }) }, bundled), /names no repository/)
    await ask({ default: signedBy(signer, { type: 'matchDigest' }) }, bundled)
  })

  test('that asks for what cannot be checked, or is not understood, lets nothing in', async () => {
    const image = await signedImage()
    const rules: readonly [object, RegExp][] = [
      [
        { default: [{ type: 'signedBy', keyType: 'GPGKeys', keyPath: '/k' }] },
        /GPG signature \(signedBy\), which windlass cannot/,
      ],
      [{ default: [{ type: 'sigstoreSigned', fulcio: {} }] }, /asks for fulcio, which windlass cannot check/],
      [
        { default: [{ type: 'sigstoreSigned', keyPath: '/k', rekorPublicKeyPath: '/r' }] },
        /asks for rekorPublicKeyPath/,
      ],
      [{ default: [{ type: 'sigstoreSigned', keyPath: '/k', keyData: 'aa' }] }, /it has 2 of keyPath/],
      [{ default: [{ type: 'sigstoreSigned', keyPaths: [] }] }, /names no key/],
      [{ default: [{ type: 'acceptAnything' }] }, /"acceptAnything" is not known/],
      [{ default: [{ type: 'sigstoreSigned', keypath: '/k' }] }, /"keypath" is not known/],
      [{ default: signedBy(signer, { type: 'exactRepository' }) }, /dockerRepository is missing/],
      [{ default: signedBy(signer, { type: 'matchAll' }) }, /"matchAll" is not known/],
      [{ default: accept, transport: {} }, /"transport" is not known/],
      [{ default: accept, transports: { Docker: {} } }, /the transport "Docker" is not known/],
      [{ default: accept, transports: { docker: { debian: reject } } }, /the scope "debian" fits no image/],
      [
        { default: accept, transports: { docker: { 'https://a.b/c': reject } } },
        /the scope "https:\/\/a\.b\/c" fits no image/,
      ],
      ...['a.b/c/', 'a.b/', 'a.b/c/*', 'a.b/C', 'index.docker.io/library'].map((scope): [object, RegExp] => [
        { default: accept, transports: { docker: { [scope]: reject } } },
        /fits no image; wanted/,
      ]),
      [{ transports: {} }, /there is no rule/],
      [{ default: reject }, /it refuses all images/],
      [{ default: [...accept, ...signedBy(stranger, { type: 'matchRepository' })] }, /it is not by/],
    ]
    for (const [rule, message] of rules) await assertRefused(ask(rule, image), message)
    await assertRefused(
      (async () =>
        parsePolicy(
          Buffer.from('{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}'),
          '/policy.json',
        ))(),
      /stands twice/,
    )
  })

  test('takes no digest from a name that is another image', async () => {
    const image = await signedImage()
    const other = await pushImage()
    const called = (digest: string) => ({ ...image, reference: parseReference(`${image.repository}@${digest}`) })
    const allows = (digest: string) => ({
      default: reject,
      transports: { docker: { [`${image.repository}@${digest}`]: accept } },
    })
    await ask(allows(image.manifest.digest), called(image.manifest.digest), 'oci-archive')
    for (const transport of ['oci-archive', 'docker'])
      await assertRefused(
        ask(allows(other.manifest.digest), called(other.manifest.digest), transport),
        /rule "default"/,
      )
    await ask({ default: signedBy(signer) }, called(image.manifest.digest), 'oci-archive')
    await assertRefused(
      ask({ default: signedBy(signer) }, called(other.manifest.digest), 'oci-archive'),
      /matchRepoDigestOrExact wants/,
    )
  })

  test('speaks of an engine only where it names it', async () => {
    const image = await pushImage()
    await ask({ default: reject }, image, 'docker-daemon')
    const transports = { 'docker-daemon': { '': reject } }
    await assertRefused(ask({ default: accept, transports }, image, 'docker-daemon'), /rule "docker-daemon: all"/)
    await ask({ default: accept, transports }, image, 'containers-storage')
  })

  test('is not got round by an archive that takes the name', async () => {
    const image = await pushImage()
    const docker = { [image.repository]: reject }
    await assertRefused(ask({ default: accept, transports: { docker } }, image, 'oci-archive'), /rule "docker: /)
    await ask({ default: accept, transports: { docker, 'oci-archive': { '': accept } } }, image, 'oci-archive')
    const byPath = { default: accept, transports: { oci: { '/untrusted': reject } } }
    await assertRefused(ask(byPath, image, 'oci'), /its scope is a path, which windlass cannot check/)
    const nameless = { ...image, reference: undefined }
    await assertRefused(
      ask({ default: reject, transports: { docker: { '': accept } } }, nameless, 'oci'),
      /rule "default and docker: all"/,
    )
    await assertRefused(
      ask({ default: accept, transports: { docker: { '': reject } } }, nameless, 'oci'),
      /rule "default and docker: all"/,
    )
    await ask({ default: accept, transports: { docker: { '': accept } } }, nameless, 'oci')
  })
})
