/**
 * The unpack thread: everything it needs is loaded, then it waits for orders. For each it walls itself in and works with synchronous calls only,
 * from the ring to the disk. It answers once, with what the layer was found to be or with what went wrong.
 */
import { parentPort } from 'node:worker_threads'
import { wrapError } from '../errors.ts'
import { RingAborted, RingReader } from '../flow/ring.ts'
import { gettid } from '../sys/libc.ts'
import { readIdMaps } from '../sys/user-namespace.ts'
import { TarReader } from '../tar/reader.ts'
import { LayerApplier } from './apply.ts'
import { Beat } from './beat.ts'
import { EntryAdapter } from './ordinary.ts'
import type { UnpackAnswer, UnpackOrder } from './unpack-messages.ts'
import { enterWall } from './wall.ts'

// Behind the wall /proc would be the layer's.
const maps = readIdMaps()
const creator = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }

function run(order: UnpackOrder): UnpackAnswer {
  const beat = new Beat(order.beat)
  const reader = new TarReader(new RingReader(order.ring), order.limits)
  using applier = new LayerApplier(order.mode, creator, order.limits)
  const adapter = maps && new EntryAdapter(maps)
  beat.begin(gettid())
  enterWall(order.root)
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
    beat.enter(entry.name)
    adapter?.adapt(entry)
    applier.apply(entry, reader)
  }
  beat.enter('')
  const layer = applier.finish()
  reader.drain()
  const adapted = adapter && { owners: adapter.owners, devices: adapter.devices }
  return { kind: 'layer', layer: { ...layer, ...(adapted && { adapted }) } }
}

function answerTo(error: unknown): UnpackAnswer {
  if (error instanceof RingAborted) return { kind: 'aborted' }
  const { code, message } = wrapError(error, 'Cannot unpack layer')
  return { kind: 'error', code, message }
}

parentPort?.on('message', (order: UnpackOrder | undefined) => {
  if (order === undefined) return parentPort?.close()
  try {
    parentPort?.postMessage(run(order))
  } catch (error) {
    parentPort?.postMessage(answerTo(error))
  }
})
