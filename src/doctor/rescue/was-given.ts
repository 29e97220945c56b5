/** Whether a decompressor was given a layer, to its last byte: what waits in its input is the end of it, or that stands in its memory, where it has read it to. */
import { hasInMemory } from '../../sys/foreign-memory.ts'
import type { Line } from '../lines.ts'
import { type Examined, tellingEnd } from './examine.ts'

interface Given {
  /** What waits in its input. */
  readonly input: Buffer
  readonly examined: Pick<Examined, 'end' | 'total'>
}

/** Noise has more; what fills up a file, or ends every stream of a kind, has less. */
const differentBytesMin = 24

export async function wasGiven(
  { decompressor }: Pick<Line, 'decompressor'>,
  { input, examined: { end, total } }: Given,
  signal: AbortSignal,
): Promise<boolean> {
  const before = end.subarray(0, Math.max(0, end.length - input.length))
  if (!end.subarray(before.length).equals(input) || !tellsAll(end, total)) return false
  if (isTelling(input.subarray(-tellingEnd))) return true
  if (!isTelling(before)) return false
  for (const { pid } of decompressor) if (await hasInMemory(pid, before, signal)) return true
  return false
}

function isTelling(bytes: Uint8Array): boolean {
  return bytes.length === tellingEnd && new Set(bytes).size >= differentBytesMin
}

/** A gzip member ends with the checksum of all that it holds, and with the length of that (RFC 1952, 2.3.1): a stream of several says at its end nothing of what comes before the last. */
function tellsAll(end: Buffer, total: number): boolean {
  return end.length >= 4 && end.readUInt32LE(end.length - 4) === total % 2 ** 32
}
