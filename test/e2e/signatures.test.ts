/** Who signed an image: checked by itself, and by a policy before anything of the image is fetched; and signatures on their way from place to place. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pull } from '../../src/copy/pull.ts'
import { openGatekeeper } from '../../src/copy/trust/check.ts'
import type { Gatekeeper } from '../../src/copy/trust/gatekeeper.ts'
import { parsePolicy } from '../../src/copy/trust/policy.ts'
import { isWindlassError } from '../../src/errors.ts'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import { mediaTypes } from '../../src/oci/media-types.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { type DockerRegistry, startDockerRegistry } from '../servers/docker-registry.ts'
import { descriptorOf, pushManifest } from '../servers/push.ts'
import { makeSigner, pushBundle, pushSignature, type Signer } from '../signing/cosign.ts'
import { newestEngines, runOf } from '../testbed/newest.ts'
import { openWindlass, type Windlass } from '../testbed/windlass.ts'

let directory: string
let registry: DockerRegistry
/** Another one, empty. */
let far: DockerRegistry
let home: Windlass
let signer: Signer
let stranger: Signer

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-signatures-'))
  registry = await startDockerRegistry()
  far = await startDockerRegistry()
  home = openWindlass(join(directory, 'home'))
  signer = await makeSigner(directory)
  stranger = await makeSigner(directory)
})
after(async () => {
  await registry?.[Symbol.asyncDispose]()
  await far?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

let images = 0
interface Pushed {
  readonly name: string
  readonly place: { url: string; path: string }
  readonly repository: string
  readonly manifest: Descriptor
}

/** An image of its own in a repository of its own. */
async function pushImage(): Promise<Pushed> {
  const path = `team/app${++images}`
  const files = join(directory, `files-${images}`)
  await mkdir(files)
  await writeFile(join(files, 'content'), `${images}`)
  const repository = `${registry.host}/${path}`
  const name = `${repository}:1`
  await home.run('pack', files, name)
  await home.run('push', '-q', name)
  const answer = await fetch(`${registry.url}/v2/${path}/manifests/1`, { headers: { accept: mediaTypes.ociManifest } })
  const manifest = descriptorOf(Buffer.from(await answer.arrayBuffer()), mediaTypes.ociManifest)
  return { name, repository, place: { url: registry.url, path }, manifest }
}

async function signed(): Promise<Pushed> {
  const image = await pushImage()
  await pushSignature(image.place, [{ signer, digest: image.manifest.digest, identity: image.repository }])
  return image
}

let stores = 0
function newWindlass(): Windlass {
  return openWindlass(join(directory, `store-${++stores}`))
}

async function assertNotSigned(name: string, key: string, message: RegExp): Promise<void> {
  const { status, stdout, stderr } = await home.try('verify', '--signature', '--key', key, name)
  assert.equal(status, 6, stderr)
  assert.equal(stdout, '')
  assert.match(stderr, message)
}

let policies = 0
async function writePolicy(rules: object): Promise<string> {
  const file = join(directory, `policy-${++policies}.json`)
  await writeFile(file, JSON.stringify(rules))
  return file
}

function signedBy(key: Signer, identity: string | object = 'matchRepository'): object[] {
  const signedIdentity = typeof identity === 'string' ? { type: identity } : identity
  return [{ type: 'sigstoreSigned', keyPath: key.file, signedIdentity }]
}

const accept = [{ type: 'insecureAcceptAnything' }]
const reject = [{ type: 'reject' }]

/** It is refused before one of its blobs is asked for, and is not there afterwards. */
async function assertRefused(args: readonly string[], message: RegExp): Promise<void> {
  const there = newWindlass()
  const lines = registry.log.length
  const { status, stderr } = await there.try(...args)
  assert.equal(status, 3, stderr)
  assert.match(stderr, message)
  assert.equal(await there.run('images', '-q'), '')
  const fetched = registry.log.slice(lines).filter(line => /GET \/v2\/.*\/blobs\//.test(line))
  // Config and signatures are fetched: of a layer, nothing.
  assert.ok(
    fetched.every(line => !layers.some(layer => line.includes(layer))),
    fetched.join('\n'),
  )
}

const layers: string[] = []
async function noteLayers({ place, manifest }: Pushed): Promise<void> {
  const answer = await fetch(`${place.url}/v2/${place.path}/manifests/${manifest.digest}`, {
    headers: { accept: mediaTypes.ociManifest },
  })
  const document = (await answer.json()) as { layers: { digest: string }[] }
  layers.push(...document.layers.map(({ digest }) => digest))
}

test('verify --signature says what is signed by a key, and for what it was used wrongly', async () => {
  const image = await signed()
  const output = await home.run('verify', '--signature', '--key', signer.file, image.name)
  assert.equal(output, `${image.name}@${image.manifest.digest}`)
  const json = JSON.parse(await home.run('verify', '--json', '--signature', '--key', signer.file, image.name))
  assert.equal(json.signatures[0].identity, image.repository)
  await assertNotSigned(
    image.name,
    stranger.file,
    /none of its signatures counts: sha256:[0-9a-f]{64}: it is not by .*\.pub/,
  )
  for (const wrong of [
    ['--signature', image.name],
    [image.name],
    ['--signature', '--repair', '--key', signer.file, image.name],
  ])
    assert.equal((await home.try('verify', ...wrong)).status, 125)
})

test('a policy lets in what is signed as its most specific rule demands, and refuses the rest before any layer', async () => {
  const image = await signed()
  const unsigned = await pushImage()
  for (const pushed of [image, unsigned]) await noteLayers(pushed)
  const scope = `${registry.host}/team`
  const policy = await writePolicy({
    default: reject,
    transports: { docker: { [scope]: signedBy(signer), [`${scope}/app0`]: accept } },
  })
  const there = newWindlass()
  const { status, stderr } = await there.try('pull', '--policy', policy, image.name)
  assert.equal(status, 0, stderr)
  assert.match(stderr, /is signed by .*\.pub, as .*policy/)
  const rule = `the rule "docker: ${scope}" of ${policy}`
  await assertRefused(
    ['pull', '--policy', policy, unsigned.name],
    new RegExp(`${rule}: it has no signature[\\s\\S]*hint: sign sha256:`),
  )
  const strict = await writePolicy({
    default: accept,
    transports: { docker: { [image.repository]: signedBy(stranger) } },
  })
  await assertRefused(['pull', '--policy', strict, image.name], /it is not by/)
  await assertRefused(
    ['copy', '--policy', strict, `docker://${image.name}`, `docker://${far.host}/copy:1`],
    /it is not by/,
  )
  assert.equal((await fetch(`${far.url}/v2/copy/manifests/1`)).status, 404)
  await assertRefused(['copy', '--policy', strict, `docker://${image.name}`, 'store:copied:1'], /it is not by/)
})

test('what is pulled is what was asked about, though the tag moves meanwhile', async () => {
  const [asked, other] = [await pushImage(), await pushImage()]
  let times = 0
  const gatekeeper: Gatekeeper = {
    check: async ({ documents }) => {
      times++
      assert.equal(documents[0]?.descriptor.digest, asked.manifest.digest)
      await home.run('push', '-q', other.name, asked.name)
      return undefined
    },
  }
  const root = join(directory, `store-${++stores}`)
  const { digest } = await pull(asked.name, { root, credentials: noCredentials, gatekeeper }).result
  assert.deepEqual([times, digest], [1, asked.manifest.digest])
  const ids = [asked, other].map(async ({ name }) => JSON.parse(await home.run('inspect', name))[0].Id)
  assert.equal(JSON.parse(await openWindlass(root).run('inspect', asked.name))[0].Id, await ids[0])
  assert.notEqual(await ids[0], await ids[1])
})

test('an engine is not even asked about an image that is refused', async () => {
  const { name } = await pushImage()
  const policy = parsePolicy(await readFile(await writePolicy({ default: signedBy(signer) })), 'policy')
  const into = { needsRoot: false, deliver: async () => assert.fail('it was delivered') }
  const options = { root: join(directory, `store-${++stores}`), credentials: noCredentials, into }
  const pulling = pull(name, { ...options, gatekeeper: openGatekeeper(policy) })
  await assert.rejects(pulling.result, error => isWindlassError(error, 'POLICY_REFUSED'))
})

test('signatures go along with the image, into archives and layouts and out of them, and are checked there', async () => {
  const image = await signed()
  const bundle = await pushBundle(image.place, { signer, image: image.manifest })
  // A signature of the signature.
  await pushSignature(image.place, [{ signer, digest: bundle.digest, identity: image.repository }])
  const files = { tar: join(directory, 'signed.tar'), layout: join(directory, 'layout') }
  await home.run('copy', '--referrers', `docker://${image.name}`, `oci-archive:${files.tar}:one`)
  await home.run('copy', '--referrers', `oci-archive:${files.tar}:one`, `oci:${files.layout}:one`)
  const target = `${far.host}/moved:1`
  const { stderr } = await home.try('copy', '--referrers', `oci:${files.layout}:one`, `docker://${target}`)
  assert.match(stderr, /Copied 3 documents that refer to it/)
  const { digest } = image.manifest
  const tags = (await (await fetch(`${far.url}/v2/moved/tags/list`)).json()) as { tags: string[] }
  const flat = (text: string) => text.replace(':', '-')
  assert.deepEqual(
    tags.tags.toSorted(),
    ['1', flat(digest), `${flat(digest)}.sig`, `${flat(bundle.digest)}.sig`].toSorted(),
  )
  const verify = ['verify', '-q', '--signature', '--key', signer.file]
  for (const place of [`docker://${target}`, `oci:${files.layout}:one`, `oci-archive:${files.tar}:one`])
    assert.match(await home.run(...verify, '--identity', image.repository, place), new RegExp(`(^|@)${digest}$`))
  // Without a name in the archive there is one image: what refers to it is none.
  const there = newWindlass()
  const policy = await writePolicy({
    default: signedBy(signer, { type: 'exactRepository', dockerRepository: image.repository }),
  })
  await there.run('load', '-q', '--policy', policy, '-i', files.tar, '--name', target)
  assert.equal((await there.run('images', '-q')).split('\n').length, 1)
  const bare = join(directory, 'bare.tar')
  await home.run('copy', `docker://${image.name}`, `oci-archive:${bare}:one`)
  await assertRefused(['load', '--policy', policy, '-i', bare], /it has no signature/)
  const docker = join(directory, 'docker.tar')
  await home.run('save', '-o', docker, image.name)
  await assertRefused(['load', '--policy', policy, '-i', docker], /this place holds no signatures/)
  const { status } = await home.try('copy', '--referrers', `docker://${image.name}`, `docker-archive:${docker}`)
  assert.equal(status, 1)
  // The store has none: they come from where the image came from.
  await home.run('tag', image.name, `${far.host}/pushed:1`)
  await home.run('push', '-q', '--referrers', `${far.host}/pushed:1`)
  assert.match(await home.run(...verify, '--identity', image.repository, `${far.host}/pushed:1`), new RegExp(digest))
})

test('sync takes signatures along, also to an image that is there without them', async () => {
  const image = await signed()
  const list = join(directory, 'list')
  await writeFile(list, `${image.name}\n`)
  const to = `docker://${far.host}/synced`
  const target = `${far.host}/synced/${image.repository.slice(registry.host.length + 1)}:1`
  const verify = ['verify', '-q', '--signature', '--key', signer.file, '--identity', image.repository, target]
  const sync = async (...args: string[]) => JSON.parse(await home.run('sync', '--json', '-f', list, ...args, to))
  const { digest } = image.manifest
  const outcome = { source: image.name, destination: `docker://${target}`, digest }
  assert.deepEqual(await sync(), { ...outcome, status: 'copied' })
  assert.equal((await home.try(...verify)).status, 6)
  assert.deepEqual(await sync('--referrers'), { ...outcome, status: 'unchanged', referrers: 1 })
  assert.match(await home.run(...verify), new RegExp(digest))
  const stored = await home.try('sync', '-f', list, '--referrers', 'store:')
  assert.equal(stored.status, 1)
  assert.match(stored.stderr, /Cannot copy referrers to store/)
})

test('what an archive calls its image is no way round the rule for the name that it gets', async () => {
  const image = await pushImage()
  const files = { oci: join(directory, 'named.tar'), docker: join(directory, 'named-docker.tar') }
  await home.run('copy', `docker://${image.name}`, `oci-archive:${files.oci}:free.example/app:1`)
  await home.run('copy', `docker://${image.name}`, `docker-archive:${files.docker}:free.example/app:1`)
  const policy = await writePolicy({
    default: reject,
    transports: { docker: { 'free.example': accept, 'kept.example': signedBy(signer), [far.host]: signedBy(signer) } },
  })
  for (const from of [`oci-archive:${files.oci}`, `docker-archive:${files.docker}`]) {
    const copy = ['copy', '--policy', policy, from]
    await assertRefused([...copy, 'store:kept.example/app:1'], /rule "docker: kept\.example"/)
    await assertRefused([...copy, `docker://${far.host}/kept:1`], /rule "docker: /)
    await assertRefused([...copy, `oci-archive:${files.oci}.copy:kept.example/app:1`], /rule "docker: kept/)
    await assertRefused([...copy, `docker-archive:${files.docker}.copy:kept.example/app:1`], /rule "docker: kept/)
    // Under a bare tag it keeps its own name.
    await newWindlass().run(...copy, `oci:${join(directory, `bare-${from.split(':', 1)[0]}`)}:1`)
    await newWindlass().run(...copy, 'store:free.example/app:1')
  }
  assert.equal((await fetch(`${far.url}/v2/kept/manifests/1`)).status, 404)
})

/** An index of its own over an image, which nobody signed. */
async function pushIndex({ place, manifest, repository }: Pushed): Promise<{ name: string; digest: string }> {
  const platform = { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [{ ...manifest, platform }] }
  const to = { path: place.path, reference: 'many', mediaType: mediaTypes.ociIndex }
  const { digest } = await pushManifest(place.url, to, JSON.stringify(index))
  return { name: `${repository}:many`, digest }
}

test('an index over what is signed is left out where it is not signed itself', async () => {
  const image = await signed()
  const index = await pushIndex(image)
  const { digest } = image.manifest
  const policy = await writePolicy({ default: signedBy(signer) })
  const there = newWindlass()
  const { status, stdout, stderr } = await there.try('pull', '--policy', policy, index.name)
  assert.equal(status, 0, stderr)
  assert.match(stderr, new RegExp(`The index ${index.digest} is not what was signed: kept without it, as ${digest}`))
  assert.match(stdout, new RegExp(`${digest}\\n$`))
  assert.deepEqual(JSON.parse(await there.run('inspect', index.name))[0].RepoDigests, [`${image.repository}@${digest}`])
  assert.equal(
    (await there.run('copy', '--policy', policy, `docker://${index.name}`, `store:${index.name}`)).trim(),
    digest,
  )
  await assertRefused(['pull', '--policy', policy, `${image.repository}@${index.digest}`], /it has no signature/)
  const to = `oci:${join(directory, 'index-copy')}:1`
  await assertRefused(['copy', '--policy', policy, `docker://${index.name}`, to], /it has no signature/)
  const platform = `linux/${process.arch === 'arm64' ? 'arm64' : 'amd64'}`
  const one = await there.run('copy', '--policy', policy, '--platform', platform, `docker://${index.name}`, to)
  assert.equal(one.trim(), digest)
  await pushSignature(image.place, [{ signer, digest: index.digest, identity: image.repository }])
  assert.match(
    await newWindlass().run('pull', '-q', '--policy', policy, index.name),
    new RegExp(`${index.digest}\\n?$`),
  )
})

test('a name of this host is under its own rule, whatever the image was called', async () => {
  const image = await pushImage()
  const docker = { [registry.host]: accept, 'kept.example': signedBy(signer) }
  const policy = await writePolicy({ default: reject, transports: { docker } })
  const copy = ['copy', '--policy', policy, `docker://${image.name}`]
  await assertRefused([...copy, 'store:kept.example/app:1'], /rule "docker: kept\.example"/)
  for (const engine of ['docker-daemon', 'containerd', 'containers-storage'])
    await assertRefused([...copy, `${engine}:kept.example/app:1`], /rule "docker: kept\.example"/)
  await newWindlass().run(...copy, `store:${image.name}`)
  const there = newWindlass()
  await there.run(...copy, `oci:${join(directory, 'renamed')}:kept.example/app:1`)
  // What is here is the operator's to name.
  await there.run('pull', '-q', image.name)
  await there.run('tag', image.name, 'kept.example/app:1')
})

test('a sync asks the policy about what it would copy, and about what is there already', async () => {
  const list = join(directory, 'list.txt')
  const policy = await writePolicy({ default: signedBy(signer) })
  const sync = async (windlass: Windlass, ...args: string[]) => {
    const { stdout, stderr } = await windlass.try('sync', '--json', '-f', list, ...args)
    const { status, error } = JSON.parse(stdout.split('\n')[0] || JSON.stringify({ status: stderr }))
    return [status, error?.code]
  }
  for (const target of ['store:', `docker://${far.host}/synced`]) {
    const image = await pushImage()
    await writeFile(list, `${image.name}\n`)
    const there = newWindlass()
    assert.deepEqual(await sync(there, '--dry-run', '--policy', policy, target), ['failed', 'POLICY_REFUSED'])
    assert.deepEqual(await sync(there, target), ['copied', undefined])
    assert.deepEqual(await sync(there, target), ['unchanged', undefined])
    assert.deepEqual(await sync(there, '--policy', policy, target), ['failed', 'POLICY_REFUSED'])
    await pushSignature(image.place, [{ signer, digest: image.manifest.digest, identity: image.repository }])
    assert.deepEqual(await sync(there, '--policy', policy, target), ['unchanged', undefined])
  }
})

const newest = newestEngines()
test('what the real cosign signs is accepted, and what it attests is none', {
  skip: newest === undefined && 'on demand: WINDLASS_PEERS_ROOT',
}, async () => {
  const image = await pushImage()
  const reference = `${image.repository}@${image.manifest.digest}`
  const cosign = (...args: string[]) =>
    runOf(newest ?? [], [
      'env',
      'COSIGN_PASSWORD=',
      `HOME=${directory}`,
      'sh',
      '-c',
      'cd "$1" && shift && cosign "$@"',
      'sh',
      directory,
      ...args,
    ])
  await cosign('generate-key-pair')
  const key = join(directory, 'cosign.pub')
  const offline = [
    '--key',
    'cosign.key',
    '--tlog-upload=false',
    '--use-signing-config=false',
    '-y',
    '--allow-http-registry',
  ]
  await writeFile(join(directory, 'predicate'), '{}')
  await cosign('attest', ...offline, '--predicate', 'predicate', '--type', 'custom', reference)
  await assertNotSigned(image.name, key, /it is no signature but an attestation/)
  await cosign('sign', ...offline, reference)
  const bundle = JSON.parse(await home.run('verify', '--json', '--signature', '--key', key, image.name))
  assert.deepEqual(
    bundle.signatures.map(({ form }: { form: string }) => form),
    ['bundle'],
  )
  await cosign('sign', ...offline, '--new-bundle-format=false', reference)
  const both = JSON.parse(await home.run('verify', '--json', '--signature', '--key', key, image.name))
  assert.deepEqual(both.signatures.map(({ form }: { form: string }) => form).toSorted(), ['bundle', 'simple signing'])
  await cosign('save', '--allow-http-registry', '--dir', 'saved', reference)
  const saved = ['--identity', image.repository, `oci:${directory}/saved`]
  assert.equal(await home.run('verify', '--signature', '--key', key, ...saved), image.manifest.digest)
  // And cosign finds what was copied.
  const target = `${far.host}/cosigned:1`
  await home.run('copy', '--referrers', `docker://${image.name}`, `docker://${target}`)
  for (const form of ['--new-bundle-format=false', '--new-bundle-format=true'])
    await cosign('verify', '--key', 'cosign.pub', '--insecure-ignore-tlog', '--allow-http-registry', form, target)
})
