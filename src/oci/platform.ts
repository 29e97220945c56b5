import { WindlassError } from '../errors.ts'
import type { Descriptor, Platform } from './descriptor.ts'
import { present } from './json.ts'
import { isIndexType, isManifestType } from './media-types.ts'
import { quote } from './quote.ts'

const knownSystems: ReadonlySet<string> = new Set(
  'aix android darwin dragonfly freebsd illumos ios linux netbsd openbsd plan9 solaris wasip1 windows'.split(' '),
)
const knownArchitectures: ReadonlySet<string> = new Set(
  '386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm'.split(' '),
)

/** No longer text is a platform, and more is not worth matching. */
const textLengthMax = 256
const systemPattern = /^([\w-]+)(?:\(([\w.%-]*)((?:\+[\w.%-]+)*)\))?$/
const partPattern = /^[\w.-]+$/

/**
 * Reads `os/arch[/variant]`, `os(version+feature)/arch`, or one of os and arch alone, as containerd and docker's `--platform` do;
 * the result is normalised. What is left out is the host's; without `host`, the os is linux and the architecture must be given.
 * @throws WindlassError USAGE
 */
export function parsePlatform(text: string, host?: Platform): Platform {
  const [first = '', second, variant, ...rest] = text.length > textLengthMax ? [] : text.split('/')
  const system = systemPattern.exec(first)
  const isWellFormed = [second, variant].every(part => part === undefined || partPattern.test(part))
  if (system === null || !isWellFormed || rest.length > 0) throw invalid(text)
  const options = readOptions(text, system[2] ?? '', system[3] ?? '')
  const os = normaliseSystem(system[1] ?? '')
  if (second !== undefined) return normalisePlatform({ os, architecture: second, ...present({ variant }), ...options })
  if (knownSystems.has(os)) {
    if (host === undefined) throw invalid(text)
    const { architecture, variant: hostVariant } = host
    return normalisePlatform({ os, architecture, ...present({ variant: hostVariant }), ...options })
  }
  const platform = normalisePlatform({ os: host?.os ?? 'linux', architecture: first })
  if (!knownArchitectures.has(platform.architecture)) throw invalid(text)
  return platform
}

function readOptions(text: string, version: string, features: string): Pick<Platform, 'os.version' | 'os.features'> {
  try {
    return present({
      'os.version': decodeURIComponent(version) || undefined,
      'os.features': features === '' ? undefined : features.slice(1).split('+').map(decodeURIComponent),
    })
  } catch (error) {
    throw invalid(text, error)
  }
}

/** `os/arch[/variant]`, with version and features behind the os where there are any; `parsePlatform` reads it back. */
export function formatPlatform(platform: Platform): string {
  const features = (platform['os.features'] ?? []).map(feature => `+${encodeOption(feature)}`).join('')
  const options = encodeOption(platform['os.version'] ?? '') + features
  const system = options === '' ? platform.os : `${platform.os}(${options})`
  return [system, platform.architecture, platform.variant].filter(Boolean).join('/')
}

/** What stands in the way of the format's own `+`, `(`, `)`, `/` is escaped, and so is what a terminal would obey. */
function encodeOption(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(/[!'()*~]/g, character => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
  })
}

/**
 * The one spelling of a platform (containerd's rules): `aarch64` is `arm64`, `x86_64` is `amd64`, `armhf` is `arm/v7`; the usual
 * variant of arm64 (v8) and of amd64 (v1) is left out, that of arm (v7) is always there.
 */
export function normalisePlatform(platform: Platform): Platform {
  const [architecture, variant] = normaliseArchitecture(
    platform.architecture.toLowerCase(),
    platform.variant?.toLowerCase() ?? '',
  )
  const features = [...new Set(platform['os.features'])].filter(feature => feature !== '').sort()
  return {
    os: normaliseSystem(platform.os),
    architecture,
    ...present({
      variant: variant || undefined,
      'os.version': platform['os.version'] || undefined,
      'os.features': features.length > 0 ? features : undefined,
    }),
  }
}

function normaliseSystem(os: string): string {
  const lowerCase = os.toLowerCase()
  return lowerCase === 'macos' ? 'darwin' : lowerCase
}

function normaliseArchitecture(architecture: string, variant: string): [architecture: string, variant: string] {
  switch (architecture) {
    case 'i386':
      return ['386', '']
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return ['amd64', variant === 'v1' ? '' : variant]
    case 'aarch64':
    case 'arm64':
      return ['arm64', normaliseArm64(variant)]
    case 'armhf':
      return ['arm', 'v7']
    case 'armel':
      return ['arm', 'v6']
    case 'arm':
      return ['arm', variant === '' ? 'v7' : variant.replace(/^[5-8]$/, 'v$&')]
    default:
      return [architecture, variant]
  }
}

function normaliseArm64(variant: string): string {
  const numbered = variant.replace(/^[89]$/, 'v$&').replace(/^(v\d+)\.0$/, '$1')
  return numbered === 'v8' ? '' : numbered
}

/** Node's names for architectures that Go, and so every image, names differently. On Linux, Node's ppc64 is little endian. */
const nodeArchitectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
}

/**
 * The platform of this host, from `process.arch` and the text of `/proc/cpuinfo`. Without that text the variant is the lowest that
 * runs everywhere, for arm the usual one.
 */
export function hostPlatform({ arch, cpuInfo = '' }: { arch: string; cpuInfo?: string }): Platform {
  const architecture = Object.hasOwn(nodeArchitectures, arch) ? (nodeArchitectures[arch] ?? arch) : arch
  const variant =
    architecture === 'amd64' ? amd64Variant(cpuInfo) : architecture === 'arm' ? armVariant(cpuInfo) : undefined
  return normalisePlatform({ os: 'linux', architecture, ...present({ variant }) })
}

/** The flags that each level adds (x86-64 psABI), in the kernel's names. Level 1 is what every amd64 processor has. */
const amd64Levels = [
  'cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3',
  'avx avx2 bmi1 bmi2 f16c fma abm movbe xsave',
  'avx512f avx512bw avx512cd avx512dq avx512vl',
]

function amd64Variant(cpuInfo: string): string {
  const flags = new Set(cpuField(cpuInfo, 'flags')?.split(' '))
  const missing = amd64Levels.findIndex(level => !level.split(' ').every(flag => flags.has(flag)))
  return `v${missing < 0 ? amd64Levels.length + 1 : missing + 1}`
}

function armVariant(cpuInfo: string): string | undefined {
  const architecture = cpuField(cpuInfo, 'CPU architecture') ?? ''
  const version = architecture.toLowerCase() === 'aarch64' ? '8' : /^[3-8]/.exec(architecture)?.[0]
  // The ARM11 of the first Raspberry Pi is v6, though its kernel says 7.
  const isArm11 = version === '7' && /^armv6-compatible/i.test(cpuField(cpuInfo, 'model name') ?? '')
  return version === undefined ? undefined : isArm11 ? 'v6' : `v${version}`
}

function cpuField(cpuInfo: string, name: string): string | undefined {
  const line = cpuInfo.split('\n').find(text => text.split(':', 1)[0]?.trim().toLowerCase() === name.toLowerCase())
  return line?.slice(line.indexOf(':') + 1).trim()
}

/**
 * The entry of an index to use on the wanted platform, in containerd's order (`platforms.Only`): the platform itself, then what its
 * processor also runs, best first: lower levels of amd64, then 386; lower versions of arm64, then arm v8 to v5. Among equals the
 * first. An entry that names no platform is taken only if no other fits: compare its config then. Attestations
 * (`unknown/unknown`) never.
 */
export function choosePlatform(descriptors: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  const host = normalisePlatform(wanted)
  for (const [architecture, variant] of compatible(host)) {
    const found = descriptors.find(({ platform }) => {
      if (platform === undefined || isUnknown(platform)) return false
      const entry = normalisePlatform(platform)
      return entry.architecture === architecture && (entry.variant ?? '') === variant && isSameSystem(entry, host)
    })
    if (found !== undefined) return found
  }
  return descriptors.find(({ platform, mediaType, artifactType, annotations }) => {
    const isImage = (isManifestType(mediaType) || isIndexType(mediaType)) && artifactType === undefined
    return platform === undefined && isImage && !Object.hasOwn(annotations ?? {}, 'vnd.docker.reference.type')
  })
}

/** Architectures and variants that the platform runs, normalised, best first. */
function compatible({ architecture, variant = '' }: Platform): [architecture: string, variant: string][] {
  const level = Number(/^v(\d)$/.exec(variant)?.[1] ?? Number.NaN)
  switch (architecture) {
    case 'amd64':
      return [
        ['amd64', variant],
        ...countDown(level - 1, 1).map((lower): [string, string] => ['amd64', lower === 1 ? '' : `v${lower}`]),
        ['386', ''],
      ]
    case 'arm':
      return [['arm', variant], ...countDown(level - 1, 5).map((lower): [string, string] => ['arm', `v${lower}`])]
    case 'arm64':
      return [
        ...arm64Variants(variant || 'v8').map((lower): [string, string] => ['arm64', normaliseArm64(lower)]),
        ...countDown(8, 5).map((lower): [string, string] => ['arm', `v${lower}`]),
      ]
    default:
      return variant === ''
        ? [[architecture, '']]
        : [
            [architecture, variant],
            [architecture, ''],
          ]
  }
}

/** Armv9.n contains Armv8.(n+5), and Armv8 ends with 8.9 (Arm's architecture reference manual). */
function arm64Variants(variant: string): string[] {
  const match = /^v([89])(?:\.(\d))?$/.exec(variant)
  if (match === null) return [variant]
  const minor = Number(match[2] ?? 0)
  if (match[1] === '8') return countDown(minor, 0).map(lower => `v8.${lower}`)
  return [
    ...countDown(minor, 0).map(lower => `v9.${lower}`),
    ...countDown(Math.min(minor + 5, 9), 0).map(lower => `v8.${lower}`),
  ]
}

/** From `from` down to `to`, both included; empty if `from` is smaller or not a number. */
function countDown(from: number, to: number): number[] {
  return from >= to ? Array.from({ length: from - to + 1 }, (_, at) => from - at) : []
}

/** The host must have every feature that the image needs. Only Windows' kernels tie images to a version, by its first three numbers. */
function isSameSystem(entry: Platform, host: Platform): boolean {
  const hostFeatures = new Set(host['os.features'])
  if (entry.os !== host.os || !(entry['os.features'] ?? []).every(feature => hostFeatures.has(feature))) return false
  const [entryVersion, hostVersion] = [entry['os.version'], host['os.version']]
  if (entry.os !== 'windows' || entryVersion === undefined || hostVersion === undefined) return true
  return windowsBuild(entryVersion) === windowsBuild(hostVersion)
}

function windowsBuild(version: string): string {
  return version.split('.').slice(0, 3).join('.')
}

function isUnknown({ os, architecture }: Platform): boolean {
  return os === 'unknown' || architecture === 'unknown'
}

/** Enough for every official image; an index may hold thousands. */
const describedMax = 20

/** The platforms that an index offers, for messages: `linux/amd64, linux/arm64`; `none` if it offers none. */
export function describePlatforms(descriptors: readonly Descriptor[]): string {
  const known = descriptors.map(({ platform }) => platform).filter(platform => platform !== undefined)
  const names = known
    .filter(platform => !isUnknown(platform))
    .map(platform => {
      return formatPlatform(normalisePlatform(platform))
        .replace(/[^\x21-\x7e]/g, '?')
        .slice(0, 64)
    })
  const distinct = [...new Set(names)]
  const more = distinct.length > describedMax ? ` and ${distinct.length - describedMax} more` : ''
  return distinct.slice(0, describedMax).join(', ') + more || 'none'
}

function invalid(text: string, cause?: unknown): WindlassError {
  const message = `Cannot use platform ${quote(text)}: not os/arch[/variant], such as linux/arm64 or linux/arm/v7`
  return new WindlassError('USAGE', message, cause === undefined ? {} : { cause })
}
