import assert from 'node:assert/strict'
import { test } from 'node:test'
import { choose, type Identified } from './plan.ts'
import { Refusal, type RefusalCode } from './refusal.ts'

function layerOf(facts: Partial<Identified>, name = 'layer', position?: number, isFetched = false): Identified {
  const layer = {
    ...{ name, size: 1000, digest: undefined, position, isFetched },
    read: () => (async function* () {})(),
    [Symbol.asyncDispose]: async () => {},
  }
  const nothing = { inputAt: undefined, others: 0, rivals: 0, end: Buffer.alloc(0), enginePositions: [], contents: [] }
  return {
    isGiven: true,
    layer,
    digest: 'sha256:a',
    diffId: 'sha256:b',
    total: 10_000,
    checksum: 0,
    ...nothing,
    ...facts,
  }
}

const file = { path: '/fs/name', link: '/proc/1/fd/3', position: 488 }
/** It has read the layer, and 3000 bytes of libraries before. */
const alone = {
  mayBeSent: false,
  mayComplain: false,
  otherLines: 0,
  inputWaiting: 0,
  hasClosed: false,
  sharesLayers: true,
}
const exact = { ...alone, written: 1000, isExact: true, isOutputAlone: true, read: 4000 }
const noisy = { ...alone, written: 1169, isExact: false, isOutputAlone: false, read: 50_000 }

const begun = (position: number) => ({ position, digest: 'sha256:a' })

function refuses(code: RefusalCode, work: () => unknown): void {
  assert.throws(work, error => error instanceof Refusal && error.code === code)
}

test('what the engine has written to its file tells the position, also where the decompressor writes elsewhere, too', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: false }] })
  assert.equal(choose(noisy, [layer], undefined).position.bytes, 1000)
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
})

test('a count that is exact and does not agree with the engine is refused', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 999, isAtEnd: false }] })
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(exact, [layer], undefined))
})

test('where two pulls unpack the same layer, files at the same byte tell the position, others only to an exact count', () => {
  const at = (position: number) => ({ file: { ...file, link: `/proc/1/fd/${position}` }, position, isAtEnd: false })
  const both = (first: number, second: number, others = 1) =>
    layerOf({ others, enginePositions: [at(first), at(second)] })
  assert.equal(choose(noisy, [both(1000, 1000)], undefined).position.bytes, 1000)
  assert.equal(choose(exact, [both(700, 1000)], undefined).position.bytes, 1000)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [both(700, 1000)], undefined))
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(exact, [both(700, 800)], undefined))
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [both(1000, 1000, 2)], undefined)) // its own may not be open
})

test('an exact count will do where the only open file is that of another pull', () => {
  const layer = layerOf({ others: 1, enginePositions: [{ file, position: 700, isAtEnd: false }] })
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [layer], undefined))
})

test('between two files an exact count will do, any other will not', () => {
  const layer = layerOf({ contents: [[512, 900]] })
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [layer], undefined))
})

test('a count of a process in which something else may have run before proves nothing by itself, but that all, or nothing, was given', () => {
  const unsure = { ...exact, isOutputAlone: false }
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(unsure, [layerOf({})], undefined))
  const shown = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: true }] })
  assert.equal(choose(unsure, [shown], undefined).position.bytes, 1000)
  for (const written of [0, 10_000])
    assert.equal(choose({ ...unsure, written }, [layerOf({})], undefined).position.bytes, written)
})

test('a file of the engine of which nothing came proves nothing by itself', () => {
  const empty = { file: { ...file, position: 0 }, position: 512, isAtEnd: false }
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [layerOf({ enginePositions: [empty] })], undefined))
  const agreed = { ...exact, written: 512 }
  assert.equal(choose(agreed, [layerOf({ enginePositions: [empty] })], undefined).position.bytes, 512)
})

test('whoever has taken nothing has given nothing, but its engine may have got something from somebody else', () => {
  const at = { file, position: 1000, isAtEnd: false }
  const waits = { ...noisy, inputWaiting: 1000 }
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(waits, [layerOf({ inputAt: 0, enginePositions: [at] })], undefined))
  const another = layerOf({ inputAt: 0, enginePositions: [at] })
  assert.equal(choose({ ...waits, otherLines: 1 }, [another], undefined).position.bytes, 0)
})

test('by an exact count it has given nothing, whatever the engine has open for others', () => {
  const waits = { ...exact, written: 0, inputWaiting: 1000 }
  const open = layerOf({ inputAt: 0, enginePositions: [{ file, position: 1000, isAtEnd: false }] })
  assert.equal(choose(waits, [open], undefined).position.bytes, 0)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ ...waits, written: 1500 }, [open], undefined))
})

test('what may have complained has given what the engine has in its file, and a count of it proves nothing by itself', () => {
  const complains = { ...exact, isOutputAlone: false, mayComplain: true, written: 1088 }
  const open = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: false }] })
  assert.equal(choose(complains, [open], undefined).position.bytes, 1000)
  const atEnd = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: true }] })
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(complains, [atEnd], undefined))
  assert.equal(choose({ ...complains, written: 1000 }, [atEnd], undefined).position.bytes, 1000)
  // As many bytes as the layer has, of which some were complaints.
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ ...complains, written: 10_000 }, [layerOf({})], undefined))
  const waits = { ...complains, written: 88, inputWaiting: 1000 }
  assert.equal(choose(waits, [layerOf({ inputAt: 0 })], undefined).position.bytes, 0)
})

test('a count that ends within a file which the engine has not open is refused', () => {
  const layer = layerOf({ contents: [[512, 2000]] })
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(exact, [layer], undefined))
})

test('whoever has not taken a byte of its input has given nothing', () => {
  const waits = { ...noisy, inputWaiting: 1000 }
  assert.equal(choose(waits, [layerOf({ inputAt: 0 })], undefined).position.bytes, 0)
})

test('a few bytes that stand at the beginning of the layer, and elsewhere too, prove nothing', () => {
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ ...noisy, inputWaiting: 1 }, [layerOf({ inputAt: 0 })], undefined))
  const hasWritten = { ...exact, written: 5000, inputWaiting: 1000 }
  assert.equal(choose({ ...hasWritten, read: 500 }, [layerOf({ inputAt: 0 })], undefined).position.bytes, 5000)
})

test('a layer of which the decompressor cannot have read as much as it has is refused', () => {
  const larger = layerOf({})
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, read: 900 }, [larger], undefined))
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ ...exact, read: 2_000_000 }, [larger], undefined))
  const waits = { ...exact, inputWaiting: 100, read: 1000 }
  assert.equal(choose(waits, [layerOf({ inputAt: 900 })], undefined).position.bytes, 1000)
  refuses('RESCUE_NO_LAYER', () => choose(waits, [layerOf({ inputAt: undefined })], undefined))
})

test('behind the end of a file only an exact count tells what else has come', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: true }] })
  assert.equal(choose(exact, [layer], undefined).position.bytes, 1000)
  refuses('RESCUE_POSITION_UNPROVEN', () => choose(noisy, [layer], undefined))
})

test('the waiting input chooses the layer; where none waits, two that may be it are refused', () => {
  const enginePositions = [{ file, position: 1000, isAtEnd: false }]
  const wrong = layerOf({ enginePositions }, 'wrong')
  const right = layerOf({ enginePositions, inputAt: 77 }, 'right')
  assert.equal(choose({ ...noisy, inputWaiting: 100 }, [wrong, right], undefined).layer.name, 'right')
  refuses('RESCUE_LAYER_UNCLEAR', () => choose(noisy, [wrong, { ...right, inputAt: undefined }], undefined))
})

test('a layer in which the waiting input does not stand is not the one, although the engine has a file open that is in it', () => {
  const layer = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: false }] })
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, inputWaiting: 65_536 }, [layer], undefined))
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, inputWaiting: 65_536 }, [layer], begun(1000)))
})

test('nor is one of which less was read than it has, or of which the engine has handed over less', () => {
  const enginePositions = [{ file, position: 1000, isAtEnd: false }]
  const at = (position: number, inputAt?: number) => layerOf({ enginePositions, inputAt }, 'layer', position)
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, read: 999 }, [at(0)], undefined))
  refuses('RESCUE_NO_LAYER', () => choose(exact, [at(900)], undefined))
  assert.equal(choose(exact, [at(1000)], undefined).position.bytes, 1000)
  const waits = { ...exact, inputWaiting: 200 }
  refuses('RESCUE_NO_LAYER', () => choose(waits, [at(899, 700)], undefined))
  assert.equal(choose(waits, [at(900, 700)], undefined).position.bytes, 1000)
})

test('a position behind the end of the layer is refused', () => {
  refuses('RESCUE_POSITION_UNPROVEN', () => choose({ ...exact, written: 20_000 }, [layerOf({})], undefined))
})

test('of a layer from a registry the end must be seen, whatever its length, its names and its bytes are', () => {
  const fetched = (facts: Partial<Identified>) => layerOf(facts, 'of a registry', undefined, true)
  const enginePositions = [{ file, position: 1000, isAtEnd: false }]
  for (const facts of [{}, { enginePositions }]) {
    refuses('RESCUE_NO_LAYER', () => choose(exact, [fetched({ ...facts, isGiven: false })], undefined))
    assert.equal(choose(exact, [fetched(facts)], undefined).position.bytes, 1000)
  }
  // What a client has sent may hold it.
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, mayBeSent: true }, [fetched({ enginePositions })], undefined))
  const waits = { ...noisy, inputWaiting: 1000 }
  refuses('RESCUE_NO_LAYER', () => choose(waits, [fetched({ inputAt: 0, isGiven: false })], undefined))
  assert.equal(choose(waits, [fetched({ inputAt: 0 })], undefined).position.bytes, 0)
  // What an earlier rescue has written of is known.
  assert.equal(choose(noisy, [fetched({ isGiven: false })], begun(4321)).position.bytes, 4321)
})

test('who has closed its output after as many bytes as the layer has gets none, whether or not it is seen what it was', () => {
  const closed = { ...exact, isOutputAlone: false, hasClosed: true, sharesLayers: false, written: 10_000 }
  for (const layer of [
    layerOf({ isGiven: false }, 'of a registry', undefined, true),
    layerOf({ isGiven: false }, 'open', 1000),
  ]) {
    assert.equal(choose(closed, [layer], undefined).position.bytes, 10_000)
    for (const unlike of [{ written: 9999 }, { isExact: false }, { read: 2_000_000 }, { hasClosed: false }])
      refuses('RESCUE_NO_LAYER', () => choose({ ...closed, ...unlike }, [layer], undefined))
  }
})

test('but where it may have been cut there, after whole buffers, it must be the layer', () => {
  const cut = { ...exact, isOutputAlone: false, hasClosed: true, sharesLayers: false, written: 20_480 }
  const layer = (isFetched: boolean, isGiven = false) => layerOf({ isGiven, total: 20_480 }, 'layer', 1000, isFetched)
  refuses('RESCUE_NO_LAYER', () => choose(cut, [layer(true)], undefined))
  assert.equal(choose(cut, [layer(true, true)], undefined).position.bytes, 20_480)
  assert.equal(choose(cut, [layer(false)], undefined).position.bytes, 20_480)
  refuses('RESCUE_NO_LAYER', () => choose({ ...cut, otherLines: 1 }, [layer(false)], undefined))
  assert.equal(choose({ ...cut, otherLines: 1, sharesLayers: true }, [layer(false)], undefined).position.bytes, 20_480)
})

test('in a containerd enough bytes must wait, or its file show how far it is, or the end be seen: it decompresses what is no layer, too', () => {
  const open = (facts: Partial<Identified> = {}) => layerOf({ isGiven: false, ...facts })
  const at = (position: number) => ({ enginePositions: [{ file, position, isAtEnd: false }] })
  for (const known of [exact, { ...exact, written: 0 }, noisy])
    refuses('RESCUE_NO_LAYER', () => choose(known, [open()], undefined))
  refuses('RESCUE_NO_LAYER', () => choose(exact, [open(at(999))], undefined))
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, written: 0 }, [open(at(1000))], undefined))
  for (const known of [exact, noisy]) assert.equal(choose(known, [open(at(1000))], undefined).position.bytes, 1000)
  assert.equal(choose({ ...exact, inputWaiting: 64 }, [open({ inputAt: 936 })], undefined).position.bytes, 1000)
  refuses('RESCUE_NO_LAYER', () => choose({ ...exact, inputWaiting: 63 }, [open({ inputAt: 937 })], undefined))
})

test('of several layers that may be the one it is that of which the end is seen', () => {
  const enginePositions = [{ file, position: 1000, isAtEnd: false }]
  const own = layerOf({ enginePositions }, 'own')
  const another = layerOf({ enginePositions, isGiven: false }, 'another')
  for (const both of [
    [own, another],
    [another, own],
  ])
    assert.equal(choose(exact, both, undefined).layer.name, 'own')
  refuses('RESCUE_LAYER_UNCLEAR', () => choose(exact, [another, { ...another }], undefined))
})

test('who has given nothing has given nothing, whatever else it might have written to, or complained of', () => {
  const nothing = { ...exact, written: 0 }
  for (const known of [
    { ...nothing, mayComplain: true },
    { ...nothing, isExact: false },
  ]) {
    assert.equal(choose(known, [layerOf({})], undefined).position.bytes, 0)
    const open = layerOf({ enginePositions: [{ file, position: 1000, isAtEnd: false }] })
    refuses('RESCUE_POSITION_UNPROVEN', () => choose(known, [open], undefined))
    assert.equal(choose({ ...known, otherLines: 1 }, [open], undefined).position.bytes, 0)
  }
})

test('in a dockerd one line works on a layer: where another has bytes of it, too, or it has come further, or too few wait, it is not known which', () => {
  const docker = { ...exact, sharesLayers: false, inputWaiting: 100 }
  const open = (facts: Partial<Identified> = {}, position = 1000) =>
    layerOf(
      { ...facts, inputAt: 900, enginePositions: [{ file, position: 1000, isAtEnd: false }], isGiven: false },
      'layer',
      position,
    )
  assert.equal(choose(docker, [open()], undefined).position.bytes, 1000)
  refuses('RESCUE_NO_LAYER', () => choose(docker, [open({ rivals: 1 })], undefined))
  refuses('RESCUE_NO_LAYER', () => choose(docker, [open({}, 1000 + 2 ** 20 + 1)], undefined))
  refuses('RESCUE_NO_LAYER', () => choose({ ...docker, inputWaiting: 63 }, [open()], undefined))
  refuses('RESCUE_NO_LAYER', () => choose({ ...docker, inputWaiting: 0 }, [open()], undefined))
  assert.equal(choose({ ...docker, sharesLayers: true }, [open({ rivals: 1 })], undefined).position.bytes, 1000)
})

test('no layer is no rescue', () => {
  refuses('RESCUE_NO_LAYER', () => choose(exact, [], undefined))
})

test('where an earlier rescue stopped, the next one goes on', () => {
  assert.equal(choose(noisy, [layerOf({})], begun(4321)).position.bytes, 4321)
})

test('but not with another layer, nor with one that the engine has not begun', () => {
  const another = layerOf({ digest: 'sha256:c' }, 'another')
  refuses('RESCUE_NO_LAYER', () => choose(noisy, [another], begun(4321)))
  assert.equal(choose(noisy, [another, layerOf({})], begun(4321)).layer.name, 'layer')
  refuses('RESCUE_NO_LAYER', () => choose(noisy, [layerOf({}, 'layer', 0)], begun(4321)))
})

test('a layer that waits for its turn is not the one, however well its length fits', () => {
  refuses('RESCUE_NO_LAYER', () => choose(exact, [layerOf({}, 'waits', 0)], undefined))
  assert.equal(
    choose(exact, [layerOf({}, 'waits', 0), layerOf({}, 'of the registry')], undefined).layer.name,
    'of the registry',
  )
})
