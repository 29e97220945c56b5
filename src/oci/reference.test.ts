import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { WindlassError } from '../errors.ts'
import {
  familiarName,
  formatFamiliar,
  formatReference,
  parseReference,
  registryHost,
  repositoryName,
} from './reference.ts'

const hex = '1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a'
const sha256 = `sha256:${hex}`
const sha512 = `sha512:${hex}${hex}`

/** text, domain, path, tag, digest, familiar form */
const valid: [string, string, string, string | undefined, string | undefined, string][] = [
  ['debian', 'docker.io', 'library/debian', 'latest', undefined, 'debian:latest'],
  ['debian:12', 'docker.io', 'library/debian', '12', undefined, 'debian:12'],
  ['library/debian', 'docker.io', 'library/debian', 'latest', undefined, 'debian:latest'],
  ['docker.io/debian', 'docker.io', 'library/debian', 'latest', undefined, 'debian:latest'],
  ['docker.io/library/debian', 'docker.io', 'library/debian', 'latest', undefined, 'debian:latest'],
  ['index.docker.io/debian', 'docker.io', 'library/debian', 'latest', undefined, 'debian:latest'],
  ['index.docker.io/fooo/bar', 'docker.io', 'fooo/bar', 'latest', undefined, 'fooo/bar:latest'],
  ['docker.io/library/foo/bar', 'docker.io', 'library/foo/bar', 'latest', undefined, 'library/foo/bar:latest'],
  ['store/foo/bar', 'docker.io', 'store/foo/bar', 'latest', undefined, 'store/foo/bar:latest'],
  ['other/library', 'docker.io', 'other/library', 'latest', undefined, 'other/library:latest'],
  ['ubuntu-12.04-base', 'docker.io', 'library/ubuntu-12.04-base', 'latest', undefined, 'ubuntu-12.04-base:latest'],
  ['test_com', 'docker.io', 'library/test_com', 'latest', undefined, 'test_com:latest'],
  ['test_com/foo', 'docker.io', 'test_com/foo', 'latest', undefined, 'test_com/foo:latest'],
  [
    'docker---rules/dock__er',
    'docker.io',
    'docker---rules/dock__er',
    'latest',
    undefined,
    'docker---rules/dock__er:latest',
  ],
  ['d/t', 'docker.io', 'd/t', 'latest', undefined, 'd/t:latest'],
  ['test.com:5000', 'docker.io', 'library/test.com', '5000', undefined, 'test.com:5000'],
  ['192.168.1.1:5000', 'docker.io', 'library/192.168.1.1', '5000', undefined, '192.168.1.1:5000'],
  ['localhost:5000', 'docker.io', 'library/localhost', '5000', undefined, 'localhost:5000'],
  ['lowercase:Uppercase', 'docker.io', 'library/lowercase', 'Uppercase', undefined, 'lowercase:Uppercase'],
  ['localhost/foo', 'localhost', 'foo', 'latest', undefined, 'localhost/foo:latest'],
  ['test:5000/repo', 'test:5000', 'repo', 'latest', undefined, 'test:5000/repo:latest'],
  ['test.com/repo:tag', 'test.com', 'repo', 'tag', undefined, 'test.com/repo:tag'],
  ['test-com:8080/foo', 'test-com:8080', 'foo', 'latest', undefined, 'test-com:8080/foo:latest'],
  ['192.168.1.1:5000/repo:5050', '192.168.1.1:5000', 'repo', '5050', undefined, '192.168.1.1:5000/repo:5050'],
  [
    'b.gcr.io/test.example.com/my-app:a.b',
    'b.gcr.io',
    'test.example.com/my-app',
    'a.b',
    undefined,
    'b.gcr.io/test.example.com/my-app:a.b',
  ],
  ['xn--n3h.com/myimage:x', 'xn--n3h.com', 'myimage', 'x', undefined, 'xn--n3h.com/myimage:x'],
  ['Uppercase/lowercase:tag', 'Uppercase', 'lowercase', 'tag', undefined, 'Uppercase/lowercase:tag'],
  ['FOO/bar', 'FOO', 'bar', 'latest', undefined, 'FOO/bar:latest'],
  ['[2001:db8::1]/repo', '[2001:db8::1]', 'repo', 'latest', undefined, '[2001:db8::1]/repo:latest'],
  ['[::1]:5000/repo:tag', '[::1]:5000', 'repo', 'tag', undefined, '[::1]:5000/repo:tag'],
  [
    '[fc00:1:2:3:4:5:6:7]:5000/library/debian',
    '[fc00:1:2:3:4:5:6:7]:5000',
    'library/debian',
    'latest',
    undefined,
    '[fc00:1:2:3:4:5:6:7]:5000/library/debian:latest',
  ],
  [`test:5000/repo@${sha256}`, 'test:5000', 'repo', undefined, sha256, `test:5000/repo@${sha256}`],
  [`test:5000/repo:tag@${sha512}`, 'test:5000', 'repo', 'tag', sha512, `test:5000/repo:tag@${sha512}`],
  [`busybox:latest@${sha256}`, 'docker.io', 'library/busybox', 'latest', sha256, `busybox:latest@${sha256}`],
  [`busybox@${sha256}`, 'docker.io', 'library/busybox', undefined, sha256, `busybox@${sha256}`],
  [`docker.io/${hex}`, 'docker.io', `library/${hex}`, 'latest', undefined, `${hex}:latest`],
  [hex.slice(1), 'docker.io', `library/${hex.slice(1)}`, 'latest', undefined, `${hex.slice(1)}:latest`],
  [`a:${'t'.repeat(128)}`, 'docker.io', 'library/a', 't'.repeat(128), undefined, `a:${'t'.repeat(128)}`],
  [`${'a/'.repeat(127)}a`, 'docker.io', `${'a/'.repeat(127)}a`, 'latest', undefined, `${'a/'.repeat(127)}a:latest`],
]

const invalid: [string, RegExp][] = [
  ['', /repository name is missing/],
  [':justtag', /repository name is missing/],
  [`@${sha256}`, /repository name is missing/],
  ['docker/', /not a repository name/],
  ['library/', /repository name is missing/],
  [`repo@sha256:${'f'.repeat(34)}`, /not a digest/],
  [`repo@sha256:${hex.toUpperCase()}`, /not a digest/],
  [`repo@md5:${'f'.repeat(32)}`, /not a digest/],
  [`repo@${sha256}@${sha256}`, /not a digest/],
  [`repo@${sha256}:tag`, /not a digest/],
  ['repo@', /not a digest/],
  ['repo:', /not a tag/],
  ['repo:-foo', /not a tag/],
  ['repo:.foo', /not a tag/],
  ['repo:a:b', /not a tag/],
  ['repo:a/b', /not a host/],
  ['host.io/repo:a/b', /not a tag/],
  [`repo:${'t'.repeat(129)}`, /not a tag/],
  ['Uppercase:tag', /lower-case; "uppercase" would do/],
  ['docker/Docker', /lower-case; "docker\/docker" would do/],
  ['test:5000/Uppercase/lowercase:tag', /lower-case/],
  ['aa/asdf$$^/aa', /not a repository name/],
  ['-docker', /not a repository name/],
  ['docker-/docker', /not a repository name/],
  ['docker///docker', /not a repository name/],
  ['____/____', /not a repository name/],
  ['dock..er/docker', /not a host|not a repository name/],
  ['dock-.er/docker', /not a host/],
  ['dock___er', /not a repository name/],
  ['-docker.io/docker/docker', /not a host/],
  ['[fc00::1]', /not a repository name/],
  ['[fc00::1]:5000', /not a repository name|not a tag/],
  ['fc00::1:5000/debian', /not a host/],
  ['[fe80::1%eth0]:5000/debian', /not a host/],
  ['[fe80::1%@invalidzone]:5000/repo', /not a/],
  ['[2001:db8:3:4::192.0.2.33]:5000/debian', /not a host/],
  ['host:port/debian', /not a host/],
  ['https://github.com/docker/docker', /leave out the scheme/],
  [hex, /image ID/],
  [sha256, /image ID/],
  ['debian\n', /not a repository name/],
  ['debian:12\n', /not a tag/],
  [' debian', /not a repository name/],
  [`${'a/'.repeat(128)}a:tag`, /257 characters; at most 255/],
  ['a'.repeat(1025), /1025 characters; at most 1024/],
]

describe('parseReference', () => {
  for (const [text, domain, path, tag, digest, familiar] of valid) {
    it(`reads ${text.slice(0, 80)}`, () => {
      const reference = parseReference(text)
      assert.deepEqual([reference.domain, reference.path, reference.tag, reference.digest], [domain, path, tag, digest])
      assert.equal(formatFamiliar(reference), familiar)
      assert.deepEqual(parseReference(formatReference(reference)), reference)
      assert.deepEqual(parseReference(formatFamiliar(reference)), reference)
    })
  }

  for (const [text, reason] of invalid) {
    it(`refuses ${JSON.stringify(text).slice(0, 80)}`, () => {
      assert.throws(
        () => parseReference(text),
        (error: unknown) => {
          assert.ok(error instanceof WindlassError)
          assert.equal(error.code, 'REFERENCE_INVALID')
          assert.match(error.message, /^Cannot use reference "/)
          assert.match(error.message, reason)
          assert.doesNotMatch(error.message, /\n/)
          return true
        },
      )
    })
  }

  it('throws nothing but REFERENCE_INVALID, and what it accepts survives printing', () => {
    const letters = fc.constantFrom(...'aA0.-_:/@[]% \n', 'docker.io/', 'sha256:', hex)
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: letters, maxLength: 40 })), text => {
        try {
          const reference = parseReference(text)
          assert.deepEqual(parseReference(formatReference(reference)), reference)
          assert.deepEqual(parseReference(formatFamiliar(reference)), reference)
        } catch (error) {
          assert.ok(error instanceof WindlassError && error.code === 'REFERENCE_INVALID', String(error))
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('stays fast on names made to backtrack', () => {
    for (const text of [
      `${'a-'.repeat(500)}!/x`,
      `x/${'a__'.repeat(300)}!`,
      `${'a.'.repeat(500)}!/x`,
      `${'-'.repeat(1000)}.`,
    ]) {
      const start = performance.now()
      assert.throws(() => parseReference(text))
      assert.ok(performance.now() - start < 20_000, text.slice(0, 10))
    }
  })
})

describe('names and hosts', () => {
  it('asks registry-1.docker.io for what is named docker.io', () => {
    assert.equal(registryHost(parseReference('debian')), 'registry-1.docker.io')
    assert.equal(registryHost(parseReference('host:5000/a')), 'host:5000')
  })

  it('names the repository in full and as docker prints it', () => {
    const reference = parseReference(`debian:12@${sha256}`)
    assert.equal(repositoryName(reference), 'docker.io/library/debian')
    assert.equal(familiarName(reference), 'debian')
    assert.equal(familiarName(parseReference('docker.io/quay.io/app')), 'docker.io/quay.io/app')
    assert.equal(familiarName(parseReference('host:5000/library/debian')), 'host:5000/library/debian')
  })
})
