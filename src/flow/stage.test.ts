import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { meterInput, meterOutput, StageMeter, samplePipeline } from './stage.ts'

/** A source that gives a chunk when it is told to. */
class Tap implements AsyncIterable<Uint8Array> {
  #give: (result: IteratorResult<Uint8Array>) => void = () => {}
  returned = false

  give(bytes: number): Promise<void> {
    this.#give({ done: false, value: new Uint8Array(bytes) })
    return turn()
  }

  end(): Promise<void> {
    this.#give({ done: true, value: undefined })
    return turn()
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => {
        const { promise, resolve } = Promise.withResolvers<IteratorResult<Uint8Array>>()
        this.#give = resolve
        return promise
      },
      return: async () => {
        this.returned = true
        return { done: true, value: undefined }
      },
    }
  }
}

/** Makes two bytes of one, and takes a turn of the event loop for it. */
async function* double(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of input) {
    await turn()
    yield new Uint8Array(chunk.length * 2)
  }
}

test('a metered stage tells what it waits for at every moment, and how far it is', async () => {
  const meter = new StageMeter('decompress')
  const tap = new Tap()
  const output = meterOutput(double(meterInput(tap, meter)), meter)
  assert.equal(meter.sample().waits, 'nobody')
  const first = output.next()
  assert.equal(meter.sample().waits, 'input')
  const arrived = tap.give(10)
  await Promise.resolve()
  await Promise.resolve()
  assert.equal(meter.sample().waits, 'itself')
  await arrived
  await first
  const { waits, bytesIn, bytesOut } = meter.sample()
  assert.deepEqual({ waits, bytesIn, bytesOut }, { waits: 'output', bytesIn: 10, bytesOut: 20 })
  const last = output.next()
  await turn()
  assert.equal(meter.sample().waits, 'input')
  await tap.end()
  assert.equal((await last).done, true)
  assert.equal(meter.sample().waits, 'nobody')
  assert.equal(meter.sample().inputEnded, true)
  assert.equal(meter.wantsInput, false)
})

test('a metered stage whose consumer leaves is over, and its source is told', async () => {
  const meter = new StageMeter('decompress')
  const tap = new Tap()
  const output = meterOutput(double(meterInput(tap, meter)), meter)
  const first = output.next()
  await tap.give(1)
  await first
  await output.return()
  assert.equal(tap.returned, true)
  assert.deepEqual([meter.waits, meter.inputEnded, meter.offersOutput], ['nobody', false, false])
})

test('a probe is asked only when somebody looks, and its word stands above the meter’s', () => {
  const asked: boolean[] = []
  const meter = new StageMeter('unpack', 'unpack 3', closer => {
    asked.push(closer)
    return { inputBytes: 42, waits: undefined, item: 'etc/passwd', ...(closer && { task: { state: 'D' } }) }
  })
  meter.active = true
  meter.bytesIn += 7
  assert.deepEqual(asked, [])
  const { stages, timeMs } = samplePipeline([meter], true)
  assert.deepEqual(asked, [true])
  assert.ok(timeMs > 0)
  const { name, kind, bytesIn, waits, inputBytes, item, task } = stages[0] ?? assert.fail()
  assert.deepEqual(
    { name, kind, bytesIn, waits, inputBytes, item, task },
    {
      name: 'unpack 3',
      kind: 'unpack',
      bytesIn: 7,
      waits: undefined,
      inputBytes: 42,
      item: 'etc/passwd',
      task: { state: 'D' },
    },
  )
  assert.deepEqual(JSON.parse(JSON.stringify(stages[0])).inputBytes, 42)
  assert.equal(samplePipeline([meter]).stages[0]?.task, undefined)
})
