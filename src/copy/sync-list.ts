import { Range, SemVer } from 'semver'
import { LineCounter, parseDocument, type YAMLParseError } from 'yaml'
import { WindlassError } from '../errors.ts'
import { isDigest } from '../oci/digest.ts'
import { quote } from '../oci/quote.ts'
import { parseReference, type Reference, repositoryName } from '../oci/reference.ts'

/** How one registry of a list is reached, where the list says so. */
export interface RegistryAccess {
  readonly credential?: { readonly username: string; readonly password: string } | undefined
  /** False for a registry whose certificate is not checked, and that may speak plain http. */
  readonly tlsVerify: boolean
  readonly certificateDirectory?: string | undefined
}

/** Some images of one repository. */
export interface ListedImages {
  /** A tag or digest of its own, or the repository alone, of which `tags` says which. */
  readonly repository: Reference
  /** Absent for one image; asked about each tag of the repository. */
  readonly tags?: ((tag: string) => boolean) | undefined
  readonly access: RegistryAccess
}

/** Mebibytes of text would be no list that somebody wrote. */
const listSizeMax = 8 * 1024 * 1024
const plainAccess: RegistryAccess = { tlsVerify: true }

/**
 * Reads a list of images: skopeo's YAML (skopeo-sync(1): registries with `images`, `images-by-tag-regex`, `images-by-semver`, `credentials`,
 * `tls-verify`, `cert-dir`), a YAML sequence of references, or one reference a line, with # for comments.
 * @param name how messages call the file
 * @throws WindlassError USAGE, REFERENCE_INVALID
 */
export function parseSyncList(text: string, name: string): ListedImages[] {
  if (text.length > listSizeMax) throw refuse(name, `it has ${text.length} characters; at most ${listSizeMax}`)
  const top = readYaml(text, name)
  const list = isMap(top)
    ? Object.entries(top).flatMap(([registry, value]) => readRegistry(registry, value, name))
    : (Array.isArray(top) ? top.map(item => textOf(item, name)) : linesOf(text)).map(readLine)
  if (list.length === 0) throw refuse(name, 'it names no image')
  return list
}

/** Plain lines are a scalar to YAML, or no YAML at all. All scalars are text: a tag `1.0` is no number. */
function readYaml(text: string, name: string): unknown {
  const lines = new LineCounter()
  const document = parseDocument(text, { schema: 'failsafe', lineCounter: lines, prettyErrors: true })
  const looksPlain = linesOf(text).every(line => !/\s|:$/.test(line))
  const [error] = document.errors
  if (error !== undefined && !looksPlain) throw yamlError(error, name)
  if (error !== undefined) return undefined
  const value: unknown = document.toJS({ maxAliasCount: 100 })
  // One reference alone may look like a mapping of one key, as in `a: b`, but no reference has a blank.
  return value
}

function yamlError(error: YAMLParseError, name: string): WindlassError {
  const [where] = error.linePos ?? []
  const place = where === undefined ? '' : ` in line ${where.line}`
  const reason = error.message.split('\n', 1)[0]?.replace(/ at line \d+, column \d+:?$/, '')
  return new WindlassError('USAGE', `Cannot read list ${name}${place}: ${reason}`, {
    hint: "wanted skopeo's sync YAML, or one reference a line",
  })
}

function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map(line => line.replace(/(^|\s)#.*$/, '').trim())
    .filter(line => line !== '')
}

function readLine(line: string): ListedImages {
  return { repository: parseReference(line.replace(/^docker:\/\//, '')), access: plainAccess }
}

const registryKeys = ['images', 'images-by-tag-regex', 'images-by-semver', 'credentials', 'tls-verify', 'cert-dir']

function readRegistry(registry: string, value: unknown, name: string): ListedImages[] {
  const at = `${name}: ${registry}`
  const config = mapOf(value, at)
  const unknown = Object.keys(config).find(key => !registryKeys.includes(key))
  if (unknown !== undefined) throw refuse(at, `${quote(unknown)} is unknown; wanted ${registryKeys.join(', ')}`)
  const access: RegistryAccess = {
    credential: readCredential(config['credentials'], at),
    tlsVerify: readBoolean(config['tls-verify'], at),
    certificateDirectory: config['cert-dir'] === undefined ? undefined : textOf(config['cert-dir'], at),
  }
  const named = Object.entries(mapOf(config['images'] ?? {}, at)).flatMap(([path, tags]) =>
    readImages(parseRepository(registry, path), listOf(tags, `${at}: ${path}`), access),
  )
  const chosen = [['images-by-tag-regex', readPattern] as const, ['images-by-semver', readVersions] as const].flatMap(
    ([key, read]) =>
      Object.entries(mapOf(config[key] ?? {}, at)).map(([path, text]) => {
        const tags = read(textOf(text, `${at}: ${path}`), `${at}: ${path}`)
        return { repository: parseRepository(registry, path), tags, access }
      }),
  )
  return [...named, ...chosen]
}

/** No tags are all tags, as in skopeo. */
function readImages(repository: Reference, tags: readonly string[], access: RegistryAccess): ListedImages[] {
  if (tags.length === 0) return [{ repository, tags: () => true, access }]
  return tags.map(tag => {
    const separator = isDigest(tag) ? '@' : ':'
    return { repository: parseReference(`${repositoryName(repository)}${separator}${tag}`), access }
  })
}

function parseRepository(registry: string, path: string): Reference {
  const reference = parseReference(`${registry}/${path}`)
  const isPlain = reference.tag === 'latest' && reference.digest === undefined && !/[:@]/.test(path)
  if (!isPlain) throw refuse(`${registry}/${path}`, 'a repository has neither tag nor digest; they are listed below it')
  const { domain, path: full } = reference
  return { domain, path: full }
}

/** Go's patterns are JavaScript's, as far as tags need them; `(?i)` stands at the start there. */
function readPattern(text: string, at: string): (tag: string) => boolean {
  const [, flags = '', rest = ''] = /^(?:\(\?([ims]+)\))?(.*)$/s.exec(text) ?? []
  try {
    const pattern = new RegExp(rest, `${flags}u`)
    return tag => pattern.test(tag)
  } catch (error) {
    throw refuse(at, `${quote(text)} is no pattern: ${error instanceof Error ? error.message : ''}`)
  }
}

/** As Masterminds' semver, which skopeo uses: a comma is an and, and a tag may lack minor and patch. */
function readVersions(text: string, at: string): (tag: string) => boolean {
  try {
    const range = new Range(text.replaceAll(',', ' '))
    return tag => {
      const version = readVersion(tag)
      return version !== undefined && range.test(version)
    }
  } catch {
    const wanted = 'wanted such as ">= 3.12, < 4" or "~1.2"'
    throw refuse(at, `${quote(text)} is no range of versions; ${wanted}`)
  }
}

function readVersion(tag: string): SemVer | undefined {
  const [, numbers = '', rest = ''] =
    /^v?(\d+(?:\.\d+){0,2})((?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)$/.exec(tag) ?? []
  const parts = numbers === '' ? [] : numbers.split('.')
  if (parts.length === 0) return undefined
  while (parts.length < 3) parts.push('0')
  try {
    return new SemVer(parts.join('.') + rest)
  } catch {
    return undefined
  }
}

function readCredential(value: unknown, at: string): RegistryAccess['credential'] {
  if (value === undefined) return undefined
  const { username, password } = mapOf(value, `${at}: credentials`)
  return { username: textOf(username, `${at}: username`), password: textOf(password, `${at}: password`) }
}

function readBoolean(value: unknown, at: string): boolean {
  if (value === undefined || value === 'true') return true
  if (value === 'false') return false
  throw refuse(at, 'tls-verify is neither true nor false')
}

type YamlMap = Readonly<Record<string, unknown>>

function isMap(value: unknown): value is YamlMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function mapOf(value: unknown, at: string): YamlMap {
  if (isMap(value)) return value
  throw refuse(at, 'this is no mapping')
}

function listOf(value: unknown, at: string): string[] {
  if (value === '') return []
  if (!Array.isArray(value)) throw refuse(at, 'this is no list of tags')
  return value.map(item => textOf(item, at))
}

function textOf(value: unknown, at: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw refuse(at, 'there is no text where one is wanted')
}

function refuse(at: string, state: string): WindlassError {
  return new WindlassError('USAGE', `Cannot use list ${at}: ${state}`, {
    hint: "wanted skopeo's sync YAML, or one reference a line",
  })
}
