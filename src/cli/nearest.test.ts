import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findNearest } from './nearest.ts'

const names = ['pull', 'images', 'inspect', 'info', 'mount', 'umount', 'version', 'rmi', 'gc']

for (const [text, wanted] of [
  ['pul', 'pull'],
  ['plul', 'pull'],
  ['image', 'images'],
  ['imagse', 'images'],
  ['unmount', 'umount'],
  ['insp', 'inspect'],
  ['rm', 'rmi'],
  ['xyzzy', undefined],
  ['', undefined],
] as const) {
  test(`for ${JSON.stringify(text)} ${wanted ?? 'nothing'} was meant`, () =>
    assert.equal(findNearest(text, names), wanted))
}
