import { WindlassError } from '../../errors.ts'
import {
  asObject,
  checkUniqueKeys,
  decodeText,
  type JsonObject,
  parseJson,
  readField,
  readList,
  readObject,
  readString,
  readStrings,
} from '../../oci/json.ts'
import { parseReference, type Reference, repositoryName } from '../../oci/reference.ts'
import type { SignedIdentity } from './identity.ts'

/** A rule of a policy file: what an image must be. */
export type Requirement =
  | { readonly type: 'insecureAcceptAnything' }
  | { readonly type: 'reject' }
  /** By a key of these, and for a name that fits. */
  | { readonly type: 'sigstoreSigned'; readonly keys: readonly KeySource[]; readonly identity: SignedIdentity }
  /** A rule that is understood and cannot be checked. */
  | { readonly type: 'unsupported'; readonly state: string }

export type KeySource = { readonly path: string } | { readonly pem: Buffer }

/** The rules for an image, and where they stand. */
export interface PolicyRule {
  /** `docker: registry.example/team`, `default`. */
  readonly scope: string
  readonly requirements: readonly Requirement[]
}

/** A policy file, read. */
export interface Policy {
  readonly path: string
  readonly fallback: readonly Requirement[]
  /** By transport, then by scope. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>
}

const policySizeMax = 4 * 1024 * 1024

/**
 * Reads a policy in the form of containers-policy.json(5). Whatever is not known in it makes it useless: a rule that is misspelt must not be a rule less.
 * @throws WindlassError POLICY_REFUSED
 */
export function parsePolicy(bytes: Uint8Array, path: string): Policy {
  try {
    const text = decodeText(bytes, path, policySizeMax)
    const document = asObject(parseJson(text, path), path)
    checkUniqueKeys(text, path)
    checkKeys(document, ['default', 'transports'], path)
    const fallback = readRequirements(readField(document, 'default'), `${path}: default`)
    const transports = Object.entries(readObject(document, 'transports', path) ?? {}).map(([transport, value]) => {
      if (!knownTransports.has(transport))
        throw new WindlassError(
          'CORRUPT',
          `Cannot read ${path}: the transport ${JSON.stringify(transport)} is not known`,
        )
      const scopes = Object.entries(asObject(value, `${path}: ${transport}`)).map(
        ([scope, list]) => [scope, readRequirements(list, `${path}: ${transport}: ${scope}`)] as const,
      )
      if (transport === 'docker') for (const [scope] of scopes) checkScope(scope, path)
      return [transport, new Map(scopes)] as const
    })
    return { path, fallback, transports: new Map(transports) }
  } catch (error) {
    throw new WindlassError('POLICY_REFUSED', `Cannot use policy ${path}: ${(error as Error).message}`, {
      cause: error,
      hint: 'mend the file; its form is that of containers-policy.json(5)',
    })
  }
}

/** All of containers-transports(5): a policy is for other programs, too. */
const knownTransports: ReadonlySet<string> = new Set([
  'docker',
  'docker-archive',
  'docker-daemon',
  'oci',
  'oci-archive',
  'containers-storage',
  'dir',
  'atomic',
  'ostree',
  'sif',
  'tarball',
])

/** A scope that no image can have, such as a short name or a URL, would be a rule less. */
function checkScope(scope: string, path: string): void {
  const [host = ''] = scope.split('/', 1)
  const isHost = /^[\w.:[\]-]+$/.test(host) && (/[.:]/.test(host) || host === 'localhost')
  if (scope === '' || /^\*\.[\w.-]+$/.test(scope) || (isHost && isNamespace(host, scope))) return
  const wanted = 'wanted host[:port] with the path in full, such as docker.io/library/debian, or *.domain'
  throw new WindlassError('CORRUPT', `Cannot read ${path}: the scope ${JSON.stringify(scope)} fits no image; ${wanted}`)
}

/** Whether a name can begin like that: no empty part, no pattern, and no other word for the host. */
function isNamespace(host: string, scope: string): boolean {
  try {
    const { domain } = parseReference(scope === host ? `${host}/app` : scope)
    return domain === host
  } catch {
    return false
  }
}

function checkKeys(object: JsonObject, known: readonly string[], subject: string): void {
  const other = Object.keys(object).find(key => !known.includes(key))
  if (other === undefined) return
  throw new WindlassError('CORRUPT', `Cannot read ${subject}: ${JSON.stringify(other)} is not known`)
}

function readRequirements(value: unknown, subject: string): Requirement[] {
  const list = readList({ value }, 'value', subject) ?? []
  if (list.length === 0) throw new WindlassError('CORRUPT', `Cannot read ${subject}: there is no rule`)
  return list.map((entry, at) => readRequirement(asObject(entry, `${subject}[${at}]`), `${subject}[${at}]`))
}

function readRequirement(entry: JsonObject, subject: string): Requirement {
  const type = readString(entry, 'type', subject)
  if (type === 'insecureAcceptAnything' || type === 'reject') {
    checkKeys(entry, ['type'], subject)
    return { type }
  }
  if (type === 'signedBy') return { type: 'unsupported', state: 'it asks for a GPG signature (signedBy)' }
  if (type === 'sigstoreSigned') return readSigstoreSigned(entry, subject)
  throw new WindlassError('CORRUPT', `Cannot read ${subject}: the type ${JSON.stringify(type)} is not known`)
}

const keyFields = ['keyPath', 'keyPaths', 'keyData', 'keyDatas'] as const
/** Who else may vouch: an authority for short-lived certificates, or a log. */
const onlineFields = [
  'fulcio',
  'pki',
  'rekorPublicKeyPath',
  'rekorPublicKeyPaths',
  'rekorPublicKeyData',
  'rekorPublicKeyDatas',
]

function readSigstoreSigned(entry: JsonObject, subject: string): Requirement {
  checkKeys(entry, ['type', 'signedIdentity', ...keyFields, ...onlineFields], subject)
  const online = onlineFields.find(field => readField(entry, field) !== undefined)
  if (online !== undefined) return { type: 'unsupported', state: `it asks for ${online}` }
  const given = keyFields.filter(field => readField(entry, field) !== undefined)
  if (given.length !== 1)
    throw new WindlassError(
      'CORRUPT',
      `Cannot read ${subject}: it has ${given.length} of ${keyFields.join(', ')}; wanted one`,
    )
  const paths = [readString(entry, 'keyPath', subject) ?? [], readStrings(entry, 'keyPaths', subject) ?? []].flat()
  const data = [readString(entry, 'keyData', subject) ?? [], readStrings(entry, 'keyDatas', subject) ?? []].flat()
  const keys = [...paths.map(path => ({ path })), ...data.map(text => ({ pem: Buffer.from(text, 'base64') }))]
  if (keys.length === 0) throw new WindlassError('CORRUPT', `Cannot read ${subject}: it names no key`)
  return { type: 'sigstoreSigned', keys, identity: readIdentity(readObject(entry, 'signedIdentity', subject), subject) }
}

const identityFields = {
  matchExact: [],
  matchRepoDigestOrExact: [],
  matchRepository: [],
  matchDigest: [],
  exactReference: ['dockerReference'],
  exactRepository: ['dockerRepository'],
  remapIdentity: ['prefix', 'signedPrefix'],
} as const satisfies Record<SignedIdentity['type'], readonly string[]>

function readIdentity(entry: JsonObject | undefined, outer: string): SignedIdentity {
  if (entry === undefined) return { type: 'matchRepoDigestOrExact' }
  const subject = `${outer}.signedIdentity`
  const type = readString(entry, 'type', subject) ?? ''
  if (!Object.hasOwn(identityFields, type))
    throw new WindlassError('CORRUPT', `Cannot read ${subject}: the type ${JSON.stringify(type)} is not known`)
  const fields: readonly string[] = identityFields[type as SignedIdentity['type']]
  checkKeys(entry, ['type', ...fields], subject)
  const values = fields.map(field => {
    const value = readString(entry, field, subject)
    if (!value) throw new WindlassError('CORRUPT', `Cannot read ${subject}: ${field} is missing`)
    return [field, value] as const
  })
  return { type, ...Object.fromEntries(values) } as SignedIdentity
}

/** What is asked about: a place in containers' words, and the name that the image has there, if any. */
export interface PolicySubject {
  readonly transport: string
  readonly reference?: Reference | undefined
}

/** What is in an engine was let in there: only a rule of its own keeps it from going on. */
const engines: ReadonlySet<string> = new Set(['docker-daemon', 'containers-storage'])

/**
 * The most specific rules for an image. What comes from a file and gets a name is under the rules for that name, unless the policy speaks of such files
 * by itself: else an archive would be the way around them.
 */
export function findRule({ fallback, transports }: Policy, { transport, reference }: PolicySubject): PolicyRule {
  if (engines.has(transport) && !transports.has(transport))
    return { scope: transport, requirements: [{ type: 'insecureAcceptAnything' }] }
  const isFile = transport !== 'docker' && !transports.has(transport)
  const kind = isFile ? 'docker' : transport
  const scopes = transports.get(kind)
  const path = kind === 'docker' ? undefined : [...(scopes?.keys() ?? [])].find(scope => scope !== '')
  if (path !== undefined)
    return { scope: `${kind}: ${path}`, requirements: [{ type: 'unsupported', state: 'its scope is a path' }] }
  const names = kind === 'docker' && reference !== undefined ? listScopes(reference) : []
  const all = scopes?.get('')
  // Without a name, it may get any later: all that holds for every name must hold.
  if (isFile && reference === undefined && all !== undefined)
    return { scope: 'default and docker: all', requirements: [...fallback, ...all] }
  for (const scope of isFile && reference === undefined ? [] : [...names, '']) {
    const requirements = scopes?.get(scope)
    if (requirements !== undefined) return { scope: `${kind}: ${scope === '' ? 'all' : scope}`, requirements }
  }
  return { scope: 'default', requirements: fallback }
}

/** containers-policy.json(5), "docker:": from the whole reference to the host, and then to the domains that it belongs to. */
function listScopes(reference: Reference): string[] {
  const name = repositoryName(reference)
  const { digest, tag, domain } = reference
  const whole = [
    ...(digest === undefined ? [] : [`${name}@${digest}`]),
    ...(tag === undefined ? [] : [`${name}:${tag}`]),
  ]
  const parts = name.split('/')
  const namespaces = parts.map((_, at) => parts.slice(0, parts.length - at).join('/'))
  const labels = domain.replace(/:\d+$/, '').split('.')
  const wildcards = labels.slice(1).map((_, at) => `*.${labels.slice(at + 1).join('.')}`)
  return [...whole, ...namespaces, ...wildcards]
}
