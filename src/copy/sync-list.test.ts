import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError } from '../errors.ts'
import { formatReference, repositoryName } from '../oci/reference.ts'
import { type ListedImages, parseSyncList } from './sync-list.ts'

function show({ repository, tags }: ListedImages): string {
  return tags === undefined ? formatReference(repository) : `${repositoryName(repository)} by its tags`
}

function refuses(text: string, message: RegExp): void {
  assert.throws(
    () => parseSyncList(text, 'list'),
    error => {
      assert.ok(isWindlassError(error), String(error))
      assert.match(error.message, message)
      return error.exitStatus === 125
    },
  )
}

test('a list is one reference a line, or a sequence of YAML', () => {
  const wanted = ['docker.io/library/debian:12', 'host:5000/team/app:latest']
  assert.deepEqual(
    parseSyncList('# ours\ndebian:12  # stable\n\ndocker://host:5000/team/app\n', 'list').map(show),
    wanted,
  )
  assert.deepEqual(parseSyncList('- debian:12\n- host:5000/team/app\n', 'list').map(show), wanted)
  assert.deepEqual(parseSyncList('debian:12', 'list').map(show), wanted.slice(0, 1))
})

const digest = `sha256:${'0'.repeat(64)}`

test("skopeo's sync YAML says which images of which registry, and how it is reached", () => {
  const list = parseSyncList(
    `registry.example.com:
  images:
    busybox: []
    redis:
      - "1.0"
      - 2.10
      - "${digest}"
  images-by-tag-regex:
    nginx: ^1\\.13\\.[12]-alpine-perl$
  images-by-semver:
    alpine: ">= 3.12, < 4"
  credentials:
    username: john
    password: this is a secret
  tls-verify: true
  cert-dir: /home/john/certs
quay.io:
  tls-verify: false
  images:
    coreos/etcd:
      - latest
`,
    'list',
  )
  assert.deepEqual(list.map(show), [
    'registry.example.com/busybox by its tags',
    'registry.example.com/redis:1.0',
    'registry.example.com/redis:2.10',
    `registry.example.com/redis@${digest}`,
    'registry.example.com/nginx by its tags',
    'registry.example.com/alpine by its tags',
    'quay.io/coreos/etcd:latest',
  ])
  const john = { username: 'john', password: 'this is a secret' }
  assert.deepEqual(list[0]?.access, { credential: john, tlsVerify: true, certificateDirectory: '/home/john/certs' })
  assert.deepEqual(list.at(-1)?.access, { credential: undefined, tlsVerify: false, certificateDirectory: undefined })
  const [all, nginx, alpine] = [0, 4, 5].map(at => list[at]?.tags ?? assert.fail())
  assert.ok(all?.('anything'))
  const tags = ['1.13.1-alpine-perl', '1.13.3-alpine-perl', '3.11', '3.12', 'v3.20.1', '4.0', 'edge', '3.13-rc1']
  assert.deepEqual(tags.filter(nginx as never), ['1.13.1-alpine-perl'])
  assert.deepEqual(tags.filter(alpine as never), ['3.12', 'v3.20.1'])
})

test('a pattern may begin with flags, as in Go', () => {
  const [listed] = parseSyncList('r.example:\n  images-by-tag-regex:\n    app: (?i)^REL\n', 'list')
  assert.deepEqual(['rel-1', 'x'].map(listed?.tags as never), [true, false])
})

test('what makes no sense is refused, and it is said where', () => {
  refuses('', /it names no image/)
  refuses('# nothing\n', /it names no image/)
  refuses('debian 12\n', /Cannot use reference/)
  refuses('r.example:\n  image:\n    a: []\n', /r\.example: "image" is unknown; wanted images,/)
  refuses('r.example:\n  images: [a]\n', /r\.example: this is no mapping/)
  refuses('r.example:\n  images:\n    a: latest\n', /r\.example: a: this is no list of tags/)
  refuses('r.example:\n  images:\n    a:1: []\n', /neither tag nor digest/)
  refuses('r.example:\n  images-by-tag-regex:\n    a: "(["\n', /is no pattern/)
  refuses('r.example:\n  images-by-semver:\n    a: newest\n', /is no range of versions/)
  refuses('r.example:\n  tls-verify: perhaps\n', /neither true nor false/)
  refuses('r.example:\n  images: {a: [b}\n', /Cannot read list list in line 2/)
  refuses('a: &a [x]\nb: [*a, *a\n', /Cannot read list list in line/)
})
