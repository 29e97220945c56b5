import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PullEvent } from '../../copy/events.ts'
import type { Digest } from '../../oci/digest.ts'
import { JoinedEvents } from './joined.ts'

const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}` as Digest
const layer = (letter: string) => ({ mediaType: 'x', digest: digest(letter), size: 10 })

function resolved(...letters: string[]): PullEvent {
  return {
    type: 'resolved',
    reference: 'r',
    digest: digest('0'),
    imageId: digest('0'),
    platform: { os: 'linux', architecture: 'arm64' },
    layers: letters.map(layer),
  }
}

function phase(at: number, letter: string): PullEvent {
  return { type: 'layer', layer: at, digest: digest(letter), size: 10, phase: 'copied' }
}

test('the layers of operations that run at a time get numbers of their own, in the order in which they are known', () => {
  const joined = new JoinedEvents()
  const numbers = (source: string, event: PullEvent) =>
    joined.take(source, event).map(event => 'layer' in event && event.layer)
  assert.deepEqual(numbers('a', resolved('1', '2')), [0, 1])
  assert.deepEqual(numbers('b', resolved('3')), [2])
  assert.deepEqual(numbers('a', phase(1, '2')), [1])
  assert.deepEqual(numbers('b', phase(0, '3')), [2])
  assert.deepEqual(numbers('b', resolved('4')), [3], 'another image of the same source')
})

test('what concerns one operation alone is told with its name, and its beginning and end are not told', () => {
  const joined = new JoinedEvents()
  const start: PullEvent = { type: 'start', reference: 'a', registry: 'r' }
  assert.deepEqual(joined.take('a', start), [])
  assert.deepEqual(joined.take('a', { type: 'warning', message: 'left out' }), [
    { type: 'warning', source: 'a', message: 'a: left out' },
  ])
})
