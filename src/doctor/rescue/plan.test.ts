import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Examined } from './examine.ts'
import { choose } from './plan.ts'
import { Refusal, type RefusalCode } from './refusal.ts'

function layerOf(facts: Partial<Examined>, name = 'layer'): Examined {
  const layer = {
    ...{ name, size: 1000, digest: undefined, position: undefined },
    read: () => (async function* () {})(),
    [Symbol.asyncDispose]: async () => {},
  }
  const nothing = { inputAt: undefined, enginePositions: [], contents: [] }
  return { layer, digest: 'sha256:a', diffId: 'sha256:b', total: 10_000, ...nothing, ...facts }
}

const file = { path: '/fs/name', link: '/proc/1/fd/3', position: 488 }
const exact = { written: 1000, isExact: true }
const noisy = { written: 1169, isExact: false }

function refuses(code: RefusalCode, work: () => unknown): void {
  assert.throws(work, error => error instanceof Refusal && error.code === code)
}

test('what the engine has written to its file tells the position, also where the decompressor writes elsewhere, too', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 1000 }] })
  assert.equal(choose(noisy, [layer], undefined).position.bytes, 1000)
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
})

test('a count that is exact and does not agree with the engine is refused', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 999 }] })
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(exact, [layer], undefined))
})

test('between two files an exact count will do, any other will not', () => {
  const layer = layerOf({ contents: [[512, 900]] })
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [layer], undefined))
})

test('a count that ends within a file which the engine has not open is refused', () => {
  const layer = layerOf({ contents: [[512, 2000]] })
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(exact, [layer], undefined))
})

test('whoever has not taken a byte of its input has given nothing', () => {
  assert.equal(choose(noisy, [layerOf({ inputAt: 0 })], undefined).position.bytes, 0)
})

test('the waiting input chooses the layer; without it, two that may be it are refused', () => {
  const enginePositions = [{ file, position: 1000 }]
  const wrong = layerOf({ enginePositions }, 'wrong')
  const right = layerOf({ enginePositions, inputAt: 77 }, 'right')
  assert.equal(choose(noisy, [wrong, right], undefined).layer.name, 'right')
  refuses('RESCUE_LAYER_UNCLEAR', () => choose(noisy, [wrong, { ...right, inputAt: undefined }], undefined))
})

test('a position behind the end of the layer is refused', () => {
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ written: 20_000, isExact: true }, [layerOf({})], undefined))
})

test('no layer is no rescue', () => {
  refuses('RESCUE_NO_LAYER', () => choose(exact, [], undefined))
})

test('where an earlier rescue stopped, the next one goes on', () => {
  assert.equal(choose(noisy, [layerOf({})], 4321).position.bytes, 4321)
})
