import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { WindlassError } from '../errors.ts'
import type { Descriptor, Platform } from './descriptor.ts'
import { parseDigest } from './digest.ts'
import { mediaTypes } from './media-types.ts'
import {
  choosePlatform,
  describePlatforms,
  formatPlatform,
  hostPlatform,
  normalisePlatform,
  parsePlatform,
} from './platform.ts'

const host = { os: 'linux', architecture: 'arm', variant: 'v6' }

const parsed: [string, string][] = [
  ['linux/arm64', 'linux/arm64'],
  ['linux/arm64/v8', 'linux/arm64'],
  ['linux/arm64/8', 'linux/arm64'],
  ['linux/arm64/v8.0', 'linux/arm64'],
  ['linux/arm64/v9.0', 'linux/arm64/v9'],
  ['linux/arm', 'linux/arm/v7'],
  ['linux/arm/7', 'linux/arm/v7'],
  ['linux/arm/v6', 'linux/arm/v6'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['arm', 'linux/arm/v7'],
  ['Aarch64', 'linux/arm64'],
  ['x86_64', 'linux/amd64'],
  ['x86-64', 'linux/amd64'],
  ['Linux/x86_64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['linux/amd64/v3', 'linux/amd64/v3'],
  ['i386', 'linux/386'],
  ['s390x', 'linux/s390x'],
  ['linux/ppc64le', 'linux/ppc64le'],
  ['linux/anything/v1', 'linux/anything/v1'],
  ['linux', 'linux/arm/v6'],
  ['macOS', 'darwin/arm/v6'],
  ['windows()/amd64', 'windows/amd64'],
  ['windows(10.0.17763)/amd64', 'windows(10.0.17763)/amd64'],
  ['windows(10.0.17763+win32k)/amd64', 'windows(10.0.17763+win32k)/amd64'],
  ['linux(+unsorted+erofs)/amd64', 'linux(+erofs+unsorted)/amd64'],
  ['windows(50%25done%2Bx)/amd64', 'windows(50%25done%2Bx)/amd64'],
]

const refused = [
  '',
  '/',
  '*',
  'linux/*',
  '/linux/arm',
  'linux/arm/',
  'linux /arm',
  'linux/&arm',
  'linux/arm/foo/bar',
  'nonsense',
  'linux\n',
  'linux/arm64\u001b[2J',
  'windows(%zz)/amd64',
  `linux/${'a'.repeat(300)}`,
  'constructor',
  '__proto__',
]

describe('parsePlatform', () => {
  for (const [text, formatted] of parsed) {
    it(`reads ${text} as ${formatted}`, () => {
      const platform = parsePlatform(text, host)
      assert.equal(formatPlatform(platform), formatted)
      assert.deepEqual(parsePlatform(formatted, host), platform)
      assert.deepEqual(normalisePlatform(platform), platform)
    })
  }

  for (const text of refused) {
    it(`refuses ${JSON.stringify(text).slice(0, 40)}`, () => {
      assert.throws(() => parsePlatform(text, host), { code: 'USAGE', message: /^Cannot use platform "[ -~…]*$/ })
    })
  }

  it('needs an architecture where no host lends one, and takes linux for the os', () => {
    assert.throws(() => parsePlatform('linux'), { code: 'USAGE' })
    assert.deepEqual(parsePlatform('arm64'), { os: 'linux', architecture: 'arm64' })
  })

  it('throws nothing but USAGE, and what it accepts survives printing', () => {
    const unit = fc.constantFrom(...'linuxarm64v8/().+%25~ \n', 'linux', 'arm64', 'windows(')
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit, maxLength: 12 })), text => {
        try {
          const platform = parsePlatform(text, host)
          assert.deepEqual(parsePlatform(formatPlatform(platform), host), platform)
        } catch (error) {
          assert.ok(error instanceof WindlassError && error.code === 'USAGE', String(error))
        }
      }),
      { numRuns: 2000 },
    )
  })
})

const digests = new Map<string, number>()
function entry(platform: string | Platform | undefined, fields: Partial<Descriptor> = {}): Descriptor {
  const hex = (digests.size + 1).toString(16).padStart(64, '0')
  digests.set(hex, 1)
  const value = typeof platform === 'string' ? parseRaw(platform) : platform
  const base = { mediaType: mediaTypes.ociManifest, digest: parseDigest(`sha256:${hex}`), size: 1 }
  return value === undefined ? { ...base, ...fields } : { ...base, platform: value, ...fields }
}

/** Without normalising, as an index may hold it. */
function parseRaw(text: string): Platform {
  const [os = '', architecture = '', variant] = text.split('/')
  return variant === undefined ? { os, architecture } : { os, architecture, variant }
}

/** wanted, then every platform that may be taken for it, best first */
const order: [string, string[]][] = [
  ['linux/amd64', ['linux/amd64', 'linux/386']],
  ['linux/amd64/v2', ['linux/amd64/v2', 'linux/amd64/v1', 'linux/386']],
  ['linux/amd64/v4', ['linux/amd64/v4', 'linux/amd64/v3', 'linux/amd64/v2', 'linux/x86_64', 'linux/i386']],
  ['linux/386', ['linux/386']],
  ['windows/amd64', ['windows/amd64', 'windows/386']],
  ['linux/arm/v8', ['linux/arm/v8', 'linux/arm', 'linux/arm/v6', 'linux/arm/v5']],
  ['linux/arm/v7', ['linux/armhf', 'linux/arm/v6', 'linux/arm/v5']],
  ['linux/arm/v6', ['linux/armel', 'linux/arm/v5']],
  ['linux/arm/v5', ['linux/arm/v5']],
  ['linux/arm/v4', ['linux/arm/v4']],
  ['linux/arm64', ['linux/arm64/v8', 'linux/arm/v8', 'linux/arm/v7', 'linux/arm/v6', 'linux/arm/v5']],
  [
    'linux/arm64/v8.1',
    ['linux/arm64/v8.1', 'linux/aarch64', 'linux/arm/v8', 'linux/arm', 'linux/arm/v6', 'linux/arm/v5'],
  ],
  [
    'linux/arm64/v9',
    [
      'linux/arm64/v9.0',
      'linux/arm64/v8.5',
      'linux/arm64/v8.4',
      'linux/arm64/v8.3',
      'linux/arm64/v8.2',
      'linux/arm64/v8.1',
      'linux/arm64',
      'linux/arm/v8',
      'linux/arm/v7',
      'linux/arm/v6',
      'linux/arm/v5',
    ],
  ],
  ['linux/s390x', ['linux/s390x']],
  ['linux/ppc64le/power9', ['linux/ppc64le/power9', 'linux/ppc64le']],
]
const others = [
  'linux/amd64/v3',
  'linux/amd64/v5',
  'linux/arm/v9',
  'linux/arm/v3',
  'linux/arm64/v8.6',
  'linux/arm64/v9.1',
  'windows/arm',
  'darwin/arm64',
  'unknown/unknown',
  'linux/unknown',
  'linux/riscv64',
  'freebsd/amd64',
  'linux/ppc64le/power10',
]

describe('choosePlatform', () => {
  for (const [wanted, accepted] of order) {
    it(`follows containerd's order for ${wanted}`, () => {
      const runs = new Set(accepted.map(name => formatPlatform(normalisePlatform(parseRaw(name)))))
      const strangers = others.filter(name => !runs.has(name)).map(name => entry(name))
      let good = accepted.toReversed().map(name => entry(name))
      for (const name of accepted) {
        const chosen = choosePlatform([...strangers, ...good, ...strangers], parsePlatform(wanted))
        assert.deepEqual(chosen?.platform, parseRaw(name))
        good = good.filter(descriptor => descriptor !== chosen)
      }
      assert.equal(choosePlatform(strangers, parsePlatform(wanted)), undefined)
    })
  }

  const amd64 = { os: 'linux', architecture: 'amd64' }

  it('ends Armv8 with 8.9, whatever Armv9 adds to it', () => {
    const wanted = { os: 'linux', architecture: 'arm64', variant: 'v9.6' }
    const [last, beyond] = [entry('linux/arm64/v8.9'), entry('linux/arm64/v8.11')]
    assert.equal(choosePlatform([beyond, last], wanted), last)
    assert.equal(choosePlatform([beyond], wanted), undefined)
  })

  it('takes the first among equals', () => {
    const [first, second] = [entry('linux/amd64'), entry('linux/amd64')]
    assert.equal(choosePlatform([entry('linux/arm64'), first, second], amd64), first)
  })

  it('never takes an attestation, even if asked for it', () => {
    const attestation = entry('unknown/unknown', {
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
    })
    assert.equal(choosePlatform([attestation], amd64), undefined)
    assert.equal(choosePlatform([attestation], { os: 'unknown', architecture: 'unknown' }), undefined)
  })

  it('takes an image without platform when nothing else fits, but no artifact and no other document', () => {
    const bare = entry(undefined)
    const artifact = entry(undefined, { artifactType: 'a/b' })
    const attestation = entry(undefined, { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } })
    const other = entry(undefined, { mediaType: 'text/plain' })
    assert.equal(choosePlatform([bare, entry('linux/amd64')], amd64)?.platform?.architecture, 'amd64')
    assert.equal(choosePlatform([artifact, attestation, other, entry('linux/arm64'), bare], amd64), bare)
    assert.equal(choosePlatform([artifact, attestation, other], amd64), undefined)
  })

  it('needs every feature of the image, and the build of Windows alone', () => {
    const gpu = entry({ ...amd64, 'os.features': ['gpu'] })
    assert.equal(choosePlatform([gpu], amd64), undefined)
    assert.equal(choosePlatform([gpu], { ...amd64, 'os.features': ['simd', 'gpu'] }), gpu)
    assert.ok(choosePlatform([entry({ ...amd64, 'os.version': '1' })], { ...amd64, 'os.version': '2' }))
    const windows = (version: string) => ({ os: 'windows', architecture: 'amd64', 'os.version': version })
    const old = entry(windows('10.0.14393.1'))
    const right = entry(windows('10.0.17763.5'))
    assert.equal(choosePlatform([old, right], windows('10.0.17763.9')), right)
    assert.equal(choosePlatform([old], windows('10.0.17763.9')), undefined)
  })
})

describe('hostPlatform', () => {
  const v2 = 'cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3'
  const v3 = `${v2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave`
  const v4 = `${v3} avx512f avx512bw avx512cd avx512dq avx512vl`
  const hosts: [string, string | undefined, string][] = [
    ['x64', undefined, 'linux/amd64'],
    ['x64', `processor\t: 0\nflags\t\t: fpu ${v2}\n`, 'linux/amd64/v2'],
    ['x64', `processor\t: 0\nflags\t\t: fpu ${v3}\n`, 'linux/amd64/v3'],
    ['x64', `processor\t: 0\nflags\t\t: fpu ${v4}\n`, 'linux/amd64/v4'],
    ['x64', `flags\t\t: ${v4.replace('ssse3 ', '')}\n`, 'linux/amd64'],
    ['arm64', 'CPU architecture: 8\n', 'linux/arm64'],
    ['arm', undefined, 'linux/arm/v7'],
    ['arm', 'CPU architecture: 8\n', 'linux/arm/v8'],
    ['arm', 'CPU architecture: AArch64\n', 'linux/arm/v8'],
    ['arm', 'model name\t: ARMv7 Processor\nCPU architecture: 7\n', 'linux/arm/v7'],
    ['arm', 'model name\t: ARMv6-compatible processor rev 7\nCPU architecture: 7\n', 'linux/arm/v6'],
    ['arm', 'CPU architecture: 5TEJ\n', 'linux/arm/v5'],
    ['ia32', undefined, 'linux/386'],
    ['ppc64', undefined, 'linux/ppc64le'],
    ['s390x', undefined, 'linux/s390x'],
    ['riscv64', undefined, 'linux/riscv64'],
    ['loong64', undefined, 'linux/loong64'],
    ['constructor', undefined, 'linux/constructor'],
  ]
  for (const [arch, cpuInfo, formatted] of hosts) {
    it(`calls ${arch} with ${JSON.stringify(cpuInfo)?.slice(0, 50)} ${formatted}`, () => {
      const input = cpuInfo === undefined ? { arch } : { arch, cpuInfo }
      assert.equal(formatPlatform(hostPlatform(input)), formatted)
    })
  }
})

describe('describePlatforms', () => {
  it('lists each platform once, and neither attestations nor what names none', () => {
    const entries = ['linux/amd64', 'linux/arm64/v8', 'linux/arm64', 'unknown/unknown', 'linux/arm'].map(name =>
      entry(name),
    )
    assert.equal(describePlatforms([...entries, entry(undefined)]), 'linux/amd64, linux/arm64, linux/arm/v7')
    assert.equal(describePlatforms([entry('unknown/unknown')]), 'none')
  })

  it('keeps a stranger from writing to the terminal, and stays short', () => {
    assert.equal(describePlatforms([entry({ os: 'li\u001b[2J\n', architecture: 'x' })]), 'li?[2j?/x')
    const many = Array.from({ length: 25 }, (_, at) => entry(`linux/a${at}`))
    assert.match(describePlatforms(many), /linux\/a19 and 5 more$/)
  })
})
