import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseRange, parseRoute } from './route.ts'

const digest = `sha256:${'a'.repeat(64)}`
const id = '01234567-89ab-cdef-0123-456789abcdef'

test('every address of the specification is understood', () => {
  assert.deepEqual(parseRoute('/v2/'), { kind: 'base' })
  assert.deepEqual(parseRoute('/v2/a/tags/list'), { kind: 'tags', name: 'a' })
  assert.deepEqual(parseRoute('/v2/a/b/manifests/v1'), { kind: 'manifest', name: 'a/b', reference: { tag: 'v1' } })
  assert.deepEqual(parseRoute(`/v2/a/manifests/${digest}`), { kind: 'manifest', name: 'a', reference: { digest } })
  assert.deepEqual(parseRoute(`/v2/a/blobs/${digest}`), { kind: 'blob', name: 'a', digest })
  assert.deepEqual(parseRoute('/v2/a/blobs/uploads/'), { kind: 'uploads', name: 'a' })
  assert.deepEqual(parseRoute('/v2/a/blobs/uploads'), { kind: 'uploads', name: 'a' })
  assert.deepEqual(parseRoute(`/v2/a/blobs/uploads/${id}`), { kind: 'upload', name: 'a', id })
  assert.deepEqual(parseRoute('/v2/manifests/manifests/manifests/x'), {
    kind: 'manifest',
    name: 'manifests/manifests',
    reference: { tag: 'x' },
  })
})

test('no name, tag, digest or upload can lead elsewhere', () => {
  for (const path of [
    '/',
    '/v2/a',
    '/v3/a/tags/list',
    '/v2/../tags/list',
    '/v2/a/../b/tags/list',
    '/v2/%2e%2e/tags/list',
    '/v2//tags/list',
    '/v2/A/tags/list',
    '/v2/_tags/tags/list',
    '/v2/a/_tags/tags/list',
    `/v2/${'a/'.repeat(200)}a/tags/list`,
    '/v2/a/manifests/..',
    '/v2/a/manifests/.x',
    `/v2/a/manifests/${'x'.repeat(129)}`,
    '/v2/a/manifests/sha256:abc',
    '/v2/a/blobs/..',
    `/v2/a/blobs/${digest.toUpperCase()}`,
    '/v2/a/blobs/uploads/..',
    '/v2/a/blobs/uploads/x',
  ]) {
    assert.equal(parseRoute(path).kind, 'invalid', path)
  }
})

test('ranges are those of RFC 9110', () => {
  const cases: [string | undefined, ReturnType<typeof parseRange>][] = [
    [undefined, undefined],
    ['bytes=0-', { start: 0, end: 10 }],
    ['bytes=3-5', { start: 3, end: 6 }],
    ['bytes=3-99', { start: 3, end: 10 }],
    ['bytes=-4', { start: 6, end: 10 }],
    ['bytes=-99', { start: 0, end: 10 }],
    ['bytes=9-9', { start: 9, end: 10 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=-', undefined],
    ['bytes=5-3', undefined],
    ['bytes=0-1,3-4', undefined],
    ['lines=0-1', undefined],
  ]
  for (const [header, expected] of cases) assert.deepEqual(parseRange(header, 10), expected, String(header))
  assert.equal(parseRange('bytes=0-', 0), 'unsatisfiable')
})

test('a range never reaches outside the file', () => {
  fc.assert(
    fc.property(fc.nat(), fc.option(fc.nat()), fc.option(fc.nat()), (size, first, last) => {
      const range = parseRange(`bytes=${first ?? ''}-${last ?? ''}`, size)
      if (typeof range !== 'object') return
      assert.ok(range.start >= 0 && range.start < range.end && range.end <= size)
    }),
  )
})
