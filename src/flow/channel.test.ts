import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Channel } from './channel.ts'

test('everything written before and during the reading arrives in order, then the end', async () => {
  const channel = new Channel<number>()
  channel.push(1)
  channel.push(2)
  const got: number[] = []
  const reading = (async () => {
    for await (const item of channel) {
      got.push(item)
      if (item === 2) channel.push(3)
    }
  })()
  await turn()
  assert.deepEqual(got, [1, 2, 3])
  channel.push(4)
  channel.close()
  channel.push(5)
  await reading
  assert.deepEqual(got, [1, 2, 3, 4])
})

test('a channel that is closed before it is read gives what it has, then the end', async () => {
  const channel = new Channel<string>()
  channel.push('only')
  channel.close()
  assert.deepEqual(await Array.fromAsync(channel), ['only'])
})

test('a reader that stops early may be followed by another one', async () => {
  const channel = new Channel<number>()
  channel.push(1)
  for await (const _ of channel) break
  channel.push(2)
  channel.close()
  assert.deepEqual(await Array.fromAsync(channel), [2])
})

test('of items with the same key an unread one gives way to the newest, in its place', async () => {
  const channel = new Channel<string>()
  channel.replace('a', 'a1')
  channel.push('between')
  channel.replace('a', 'a2')
  channel.close()
  assert.deepEqual(await Array.fromAsync(channel), ['a2', 'between'])
})

test('an item that was read is not replaced', async () => {
  const channel = new Channel<string>()
  channel.replace('a', 'a1')
  const reader = channel[Symbol.asyncIterator]()
  assert.equal((await reader.next()).value, 'a1')
  channel.replace('a', 'a2')
  channel.close()
  assert.equal((await reader.next()).value, 'a2')
})
