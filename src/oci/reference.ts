import { WindlassError } from '../errors.ts'
import { type Digest, isDigest } from './digest.ts'
import { quote } from './quote.ts'

/**
 * An image's name, normalised as docker does it: the domain is always there, Docker Hub's short names carry `library/`, and
 * at least one of tag and digest is set. With both, the digest decides.
 */
export interface Reference {
  /** `host`, `host:port` or `[ipv6]:port`; Docker Hub is `docker.io`. */
  readonly domain: string
  readonly path: string
  readonly tag?: string
  readonly digest?: Digest
}

/** The domain that short names belong to. */
const hubDomain = 'docker.io'
const hubLegacyDomain = 'index.docker.io'
/** Docker Hub's name is not the name of the host that serves its images. */
const hubRegistryHost = 'registry-1.docker.io'
const officialPrefix = 'library/'
const defaultTag = 'latest'

/** Registries refuse longer repository names; the domain does not count (distribution/reference). */
const nameLengthMax = 255
/** A DNS name, a port, a repository, a tag and a sha512 digest fit in 800; more is no reference, and not worth matching. */
const textLengthMax = 1024

const labelPattern = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const domainPattern = new RegExp(`^(?:${labelPattern}(?:\\.${labelPattern})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`)
const pathPattern = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/
const tagPattern = /^\w[\w.-]{0,127}$/
const identifierPattern = /^[a-f0-9]{64}$/

/**
 * Reads an image's name as docker reads it (distribution/reference, grammar and normalisation): `debian` is
 * `docker.io/library/debian:latest`. The tag defaults to `latest` only where neither tag nor digest is given.
 * @throws WindlassError REFERENCE_INVALID, saying what is wrong and what would be right
 */
export function parseReference(text: string): Reference {
  if (text.length > textLengthMax) throw invalid(text, `it has ${text.length} characters; at most ${textLengthMax}`)
  if (identifierPattern.test(text) || isDigest(text)) {
    throw invalid(text, 'it is an image ID; a name is needed, such as name:tag or name@sha256:…')
  }
  const [named, digestText] = cutFirst(text, '@')
  const [domain, remainder] = splitDomain(named)
  const [path, tag] = cutFirst(remainder, ':')
  checkDomain(text, domain)
  checkPath(text, domain, path)
  if (path.length > nameLengthMax) {
    throw invalid(text, `the repository name has ${path.length} characters; at most ${nameLengthMax}`)
  }
  if (tag !== undefined) checkTag(text, tag)
  const digest = digestText === undefined ? undefined : checkDigest(text, digestText)
  return {
    domain,
    path,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
    ...(tag === undefined && digest === undefined && { tag: defaultTag }),
  }
}

/** The full, unambiguous form: `docker.io/library/debian:12@sha256:…`. `parseReference` reads it back unchanged. */
export function formatReference(reference: Reference): string {
  return repositoryName(reference) + formatSuffix(reference)
}

/** The short form that docker prints: without `docker.io/`, and without `library/` for official images. */
export function formatFamiliar(reference: Reference): string {
  return familiarName(reference) + formatSuffix(reference)
}

/** Domain and path, without tag and digest: `docker.io/library/debian`. */
export function repositoryName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`
}

/**
 * The repository as docker prints it, without tag and digest: `debian`, `host:5000/team/app`. Where the short form would be
 * read as another host (`docker.io/quay.io/app`), docker prints it all the same; here it stays in full.
 */
export function familiarName({ domain, path }: Pick<Reference, 'domain' | 'path'>): string {
  const full = `${domain}/${path}`
  if (domain !== hubDomain) return full
  const official = path.startsWith(officialPrefix) ? path.slice(officialPrefix.length) : ''
  const short = official !== '' && !official.includes('/') ? official : path
  return splitDomain(short).join('/') === full ? short : full
}

/** `host[:port]` that serves the registry API for this reference. */
export function registryHost(reference: Reference): string {
  return reference.domain === hubDomain ? hubRegistryHost : reference.domain
}

function formatSuffix({ tag, digest }: Reference): string {
  return (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`)
}

function splitDomain(name: string): [domain: string, remainder: string] {
  const [first, rest] = cutFirst(name, '/')
  if (rest === undefined) return [hubDomain, officialPrefix + name]
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase()
  const domain = isDomain && first !== hubLegacyDomain ? first : hubDomain
  const remainder = isDomain ? rest : name
  const isOfficial = domain === hubDomain && !remainder.includes('/')
  return [domain, isOfficial ? officialPrefix + remainder : remainder]
}

function checkDomain(text: string, domain: string): void {
  if (domainPattern.test(domain)) return
  const scheme = /^https?:$/i.test(domain)
  throw invalid(text, scheme ? 'it is a URL; leave out the scheme' : `${quote(domain)} is not a host[:port]`)
}

function checkPath(text: string, domain: string, path: string): void {
  if (pathPattern.test(path)) return
  if (path === '' || path === officialPrefix) throw invalid(text, 'the repository name is missing')
  const lowerCase = path.toLowerCase()
  if (pathPattern.test(lowerCase)) {
    throw invalid(text, `repository names are lower-case; ${quote(familiarName({ domain, path: lowerCase }))} would do`)
  }
  const reason = 'only a-z, 0-9 and, between them, one of . _ __ or dashes, in parts separated by /'
  throw invalid(text, `${quote(path)} is not a repository name; ${reason}`)
}

function checkTag(text: string, tag: string): void {
  if (tagPattern.test(tag)) return
  throw invalid(text, `${quote(tag)} is not a tag; letters, digits, _ . and -, at most 128, not starting with . or -`)
}

function checkDigest(text: string, digest: string): Digest {
  if (isDigest(digest)) return digest
  throw invalid(text, `${quote(digest)} is not a digest; sha256: and 64, or sha512: and 128 lower-case hex digits`)
}

function cutFirst(text: string, separator: string): [before: string, after: string | undefined] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

function invalid(text: string, reason: string): WindlassError {
  return new WindlassError('REFERENCE_INVALID', `Cannot use reference ${quote(text)}: ${reason}`)
}
