import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Outlet } from './outlet.ts'

async function* parts(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}

async function* failing(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
  throw new Error('the layer is wrong')
}

const whole = new AbortController().signal
const never = new Promise<void>(() => {})
const stored = () => parts('stored')

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  return Buffer.concat(await Array.fromAsync(bytes, chunk => Buffer.from(chunk))).toString()
}

test('content flows to who asked before it came, and nobody waits for the store', async () => {
  const outlet = new Outlet(never, stored)
  const reading = readAll(outlet.read())
  await outlet.take(parts('one ', 'two'), whole)
  assert.equal(await reading, 'one two')
})

test('a chunk is used before the next but one is asked for', async () => {
  const outlet = new Outlet(never, stored)
  let asked = 0
  const counted = (async function* () {
    for (; asked < 10; asked++) yield Buffer.from(`${asked}`)
  })()
  const reader = outlet.read()[Symbol.asyncIterator]()
  const taking = outlet.take(counted, whole)
  for (let used = 0; used < 10; used++) {
    assert.equal(Buffer.from((await reader.next()).value ?? '').toString(), `${used}`)
    assert.ok(asked <= used + 1, `${asked} were asked for when ${used} was used`)
  }
  assert.ok((await reader.next()).done)
  await taking
})

test('content that proves wrong ends with its error for both, and who asks again gets what is stored', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const outlet = new Outlet(promise, stored)
  const reading = readAll(outlet.read())
  reading.catch(() => {})
  await assert.rejects(outlet.take(failing('one'), whole), /the layer is wrong/)
  await assert.rejects(reading, /the layer is wrong/)
  const again = readAll(outlet.read())
  await outlet.take(parts('right'), whole)
  resolve()
  assert.equal(await again, 'stored')
})

test('who leaves in the middle does not hold up the content', async () => {
  const outlet = new Outlet(never, stored)
  const reader = outlet.read()[Symbol.asyncIterator]()
  const taking = outlet.take(parts('one', 'two', 'three'), whole)
  await reader.next()
  await reader.return?.()
  await taking
})

test('content that nobody asks for is not held back', async () => {
  const outlet = new Outlet(Promise.resolve(), stored)
  outlet.release()
  await outlet.take(parts('one'), whole)
  assert.equal(await readAll(outlet.read()), 'stored')
})

test('a layer that cannot be had is an error for who waits for it', async () => {
  const outlet = new Outlet(Promise.reject(new Error('no such blob')), stored)
  outlet.release()
  await outlet.take(parts('one'), whole)
  await assert.rejects(readAll(outlet.read()), /no such blob/)
})

test('a reader that never comes back does not hold up what is cancelled, and no more is asked for', async () => {
  const outlet = new Outlet(never, stored)
  const reader = outlet.read()[Symbol.asyncIterator]()
  const stop = new AbortController()
  let isClosed = false
  let asked = 0
  const counted = (async function* () {
    try {
      for (; asked < 10; asked++) yield Buffer.from(`${asked}`)
    } finally {
      isClosed = true
    }
  })()
  const taking = outlet.take(counted, stop.signal)
  await reader.next()
  stop.abort()
  await assert.rejects(taking, /Cannot hand the layer on: cancelled/)
  assert.deepEqual([asked, isClosed], [1, true])
})
